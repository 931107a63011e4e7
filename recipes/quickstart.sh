#!/usr/bin/env bash
# The main job on what is in the tree, from a fresh clone: build, make a small model, fine-tune it on GSM8K's solutions
# (SFT), then on groups of expert, teacher and own responses (GFT), and let it answer. Ten rows teach no arithmetic:
# this shows the way of the data, not a result.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked -p gft
gft=target/release/gft
rows=tests/golden/data/rows

if [ ! -e demo/model ]; then
    $gft init-model demo/model --hidden 128 --layers 4 --ffn 384 --text $rows/gsm8k-train-20.jsonl
fi
$gft train recipes/sft.toml
$gft train recipes/gft-stable.toml --model-name-or-path runs/sft --max-steps 5
$gft generate --model runs/gft-stable --prompt "Tom has 3 apples and buys 4 more. How many has he?" --max-new-tokens 40
