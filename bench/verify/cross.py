"""Compares every reference answer of labelled pairs with every other one and lists those that the verifier calls equal: two answers
drawn at random are almost never the same, so the list is short, and what does not belong there is a false positive.

    cargo build --release -p gft-verify --example check
    python3 bench/verify/cross.py tests/golden/verify/blind/*.jsonl
"""

import argparse
import itertools
import json
import subprocess
import tempfile
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, nargs="+", help="files of pairs with the field `gold`")
    parser.add_argument("--check", default="target/release/examples/check", help="the check example")
    args = parser.parse_args()

    golds = sorted({json.loads(line)["gold"] for path in args.pairs for line in path.read_text().splitlines()})
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.jsonl"
        with pairs.open("w") as out:
            for gold, answer in itertools.combinations(golds, 2):
                out.write(json.dumps({"gold": gold, "answer": answer, "equal": False}) + "\n")
        output = subprocess.run([args.check, str(pairs)], capture_output=True, text=True, check=True).stdout
    equal = [line.removeprefix("ACCEPTED ") for line in output.splitlines() if line.startswith("ACCEPTED")]
    print("\n".join(equal))
    print(f"{len(golds)} answers, {len(golds) * (len(golds) - 1) // 2} pairs, {len(equal)} called equal")


if __name__ == "__main__":
    main()
