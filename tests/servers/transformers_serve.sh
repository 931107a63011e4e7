#!/usr/bin/env bash
# Builds groups against a server that is not ours: `transformers serve` with a small model that is made here.
#
#   pip install 'transformers[serving]' torch
#   cargo build -p gft
#   tests/servers/transformers_serve.sh [path of gft] [path of transformers]
#
# It asks twenty GSM8K prompts for two answers each, kills the build in the middle, goes on, builds again from the cache
# with the server gone, and checks what came of it. The model is untrained: its answers are noise of the right form.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
gft=$(realpath "${1:-$root/target/debug/gft}")
transformers=${2:-transformers}
rows=$root/tests/golden/data/rows/gsm8k-train-20.jsonl
port=${PORT:-8377}
work=$(mktemp -d)
server=
stop() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=; fi
}
trap 'stop; rm -rf "$work"' EXIT
cd "$work"

"$gft" init-model tiny --text "$rows" --hidden 64 --layers 2 --heads 4 --kv-heads 2 --ffn 128 --vocab-size 600 \
    --max-positions 512 --family qwen2 --chat-template chatml -q
# The server draws only where the model's own configuration says that it samples, whatever temperature is asked for.
sed -i 's/{/{\n  "do_sample": true,/' tiny/generation_config.json
TRANSFORMERS_OFFLINE=1 "$transformers" serve --port "$port" --device cpu "$work/tiny" >server.log 2>&1 &
server=$!
for _ in $(seq 300); do
    if curl -sf "http://127.0.0.1:$port/health" >/dev/null; then break; fi
    kill -0 "$server" || { cat server.log; exit 1; }
    sleep 1
done
"$transformers" version 2>/dev/null | tail -1 || true

echo '--- one request by hand, with n=2: what the server says'
curl -s "http://127.0.0.1:$port/v1/chat/completions" -H 'content-type: application/json' -d '{"model": "'"$work/tiny"'",
  "messages": [{"role": "user", "content": "2+2?"}], "max_tokens": 4, "n": 2, "seed": 1}'
echo

build=("$gft" group build "$rows" --teacher "$work/tiny,url=http://127.0.0.1:$port/v1,name=tiny" --concurrency 1
    -n 2 --max-tokens 24 --temperature 0.8 --keep-truncated -o groups.jsonl)
echo '--- killed in the middle'
"${build[@]}" --quiet &
child=$!
until [ "$(find groups.jsonl.cache -name '*.json' 2>/dev/null | wc -l)" -ge 9 ]; do sleep 0.05; done
kill -9 "$child"
wait "$child" 2>/dev/null || true
echo "answers kept: $(find groups.jsonl.cache -name '*.json' | wc -l); groups.jsonl: $(ls groups.jsonl 2>/dev/null || echo none)"
echo '--- gone on with'
"${build[@]}"
echo '--- the first row'
head -1 groups.jsonl
echo '--- built again with the server gone'
stop
cp groups.jsonl before.jsonl
"${build[@]}" --force
cmp groups.jsonl before.jsonl && echo 'the same, byte for byte'
echo '--- statistics'
"$gft" group stats groups.jsonl --examples 0
echo "requests that the server saw: $(grep -c POST server.log) (one by hand, 40 answers, and what the killed build lost)"
[ "$(grep -c POST server.log)" -le 43 ]
[ "$(wc -l <groups.jsonl)" = 20 ]
