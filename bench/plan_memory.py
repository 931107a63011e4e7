"""Holds the memory that `gft plan` predicts against the peak that `gft train` reaches, for methods and model sizes.

    python plan_memory.py --gft ../target/release/gft --rows ../tests/golden/data/rows/gsm8k-groups-10.jsonl

Models are made by `gft init-model` over words that are made up here, so that the vocabulary has its full size. The peak is
what the system counted for the process (wait4).
"""

import argparse
import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

# hidden, layers, heads, key-value heads, ffn, vocabulary
SIZES = {
    "0.3M": (64, 2, 4, 2, 160, 1200),
    "7M": (256, 6, 4, 2, 1024, 4096),
    "50M": (576, 12, 9, 3, 1536, 16384),
}
# A small KL term: without one, groups of an untrained model that are all wrong would not be run at all.
METHODS = {"sft": [], "gft": [], "grpo": ["--beta", "0.001"], "sft, recompute": ["--gradient-checkpointing", "true"]}


def peak_of(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command}: exit code {process.returncode}\n{said}")
    return usage.ru_maxrss * 1024


def words(path, count):
    """A text with many different words."""
    random.seed(0)
    syllables = [a + b for a in "bcdfghjklmnpqrstvwz" for b in "aeiou"]
    text = [" ".join("".join(random.choices(syllables, k=random.randint(1, 4))) for _ in range(200)) for _ in range(count)]
    path.write_text("\n".join(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gft", default="gft")
    parser.add_argument("--rows", required=True)
    parser.add_argument("--only", action="append", help=f"sizes: {', '.join(SIZES)}")
    parser.add_argument("--steps", type=int, default=40, help="steps differ in size: memory that only grows shows with their number")
    parser.add_argument("more", nargs="*", help="further flags of gft train, after --")
    args = parser.parse_args()
    print("| model | method | predicted | measured | measured / predicted |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        words(root / "text", 600)
        for size, (hidden, layers, heads, kv_heads, ffn, vocab) in SIZES.items():
            if args.only and size not in args.only:
                continue
            model = root / size
            flags = f"--hidden {hidden} --layers {layers} --heads {heads} --kv-heads {kv_heads} --ffn {ffn} --vocab-size {vocab}"
            make = [args.gft, "init-model", str(model), "--quiet", "--text", str(root / "text"), args.rows, *flags.split()]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
            for method, flags in METHODS.items():
                run = ["--method", method.split(",")[0], *flags, "--model", str(model), "--data", args.rows]
                run += ["--output-dir", str(root / f"{size} {method}"), "--max-steps", str(args.steps), "--train-batch-size", "4"]
                run += ["--max-completion-length", "96", "--truncation-mode", "keep_start", *args.more]
                plan = subprocess.run([args.gft, "plan", *run, "--json"], check=True, capture_output=True, text=True)
                predicted = sum(bytes for _, bytes in json.loads(plan.stdout)["memory"])
                measured = peak_of([args.gft, "train", *run])
                ratio = measured / predicted
                print(f"| {size} | {method} | {predicted / 1e6:.0f} MB | {measured / 1e6:.0f} MB | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
