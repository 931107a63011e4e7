"""Runs gft-verify and math-verify over the same labelled pairs: accuracy, time, and every disagreement.

    cargo build --release -p gft-verify --example check
    python3 bench/verify/side_by_side.py tests/golden/verify/pairs.jsonl... [--limit 2000] [--out disagreements.jsonl]

Needs math-verify from PyPI (`pip install math-verify[antlr4_13_2]`). The gold answer is given to math-verify as mathematics
in dollars, the answer in a box, as its own documentation does; answers that bring their own delimiters are left as they are.
Time is measured in one process and one thread for each.
"""

import argparse
import json
import logging
import subprocess
import tempfile
import time
from pathlib import Path

from math_verify import parse, verify

logging.disable(logging.CRITICAL)


def wrap(text, boxed):
    if "$" in text or "\\boxed" in text or "\\(" in text or "\\[" in text:
        return text
    return rf"$\boxed{{{text}}}$" if boxed else f"${text}$"


def math_verify(gold, answer, completion):
    g = parse(wrap(gold, False), parsing_timeout=5)
    a = parse(answer if completion else wrap(answer, True), parsing_timeout=5)
    return bool(verify(g, a, timeout_seconds=5))


def summary(name, labels, results, seconds):
    tp = sum(r and l for r, l in zip(results, labels))
    fp = sum(r and not l for r, l in zip(results, labels))
    positives = sum(labels)
    negatives = len(labels) - positives
    accuracy = (tp + negatives - fp) / len(labels)
    print(f"{name:12} accuracy {accuracy:7.2%}  true positives {tp / max(positives, 1):7.2%}  "
          f"false positives {fp / max(negatives, 1):6.2%}  {len(labels) / seconds:,.0f} checks/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, nargs="+", help="files of pairs, run together and summed up one by one")
    parser.add_argument("--check", default="target/release/examples/check", help="the check example")
    parser.add_argument("--limit", type=int, default=0, help="every n-th pair, so that about this many are left")
    parser.add_argument("--out", type=Path, default=Path("disagreements.jsonl"))
    args = parser.parse_args()

    with args.out.open("w") as out:
        for path in args.pairs:
            print(path)
            compare(path, args, out)


def compare(path, args, out):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if args.limit and len(rows) > args.limit:
        step = len(rows) / args.limit
        rows = [rows[int(i * step)] for i in range(args.limit)]
    labels = [r["equal"] for r in rows]

    with tempfile.TemporaryDirectory() as folder:
        pairs, verdicts = Path(folder) / "pairs.jsonl", Path(folder) / "verdicts.jsonl"
        pairs.write_text("".join(json.dumps(r) + "\n" for r in rows))
        output = subprocess.run([args.check, str(pairs), "--verdicts", str(verdicts), "--repeat", "10"],
                                capture_output=True, text=True, check=True).stdout
        ours = [json.loads(line) for line in verdicts.read_text().splitlines()]
    speed = float(output.split("checks/s ")[1].split()[0])

    start = time.perf_counter()
    theirs = [math_verify(r["gold"], r["answer"], r.get("extract", False)) for r in rows]
    seconds = time.perf_counter() - start

    summary("gft-verify", labels, [o["equal"] for o in ours], len(rows) / speed)
    summary("math-verify", labels, theirs, seconds)

    counts = {}
    for row, our, their in zip(rows, ours, theirs):
        if our["equal"] == their:
            continue
        right = "gft-verify" if our["equal"] == row["equal"] else "math-verify"
        key = f"{right} is right, label {'equal' if row['equal'] else 'different'}"
        counts[key] = counts.get(key, 0) + 1
        record = {"gold": row["gold"], "answer": row["answer"], "gft": our["equal"], "math_verify": their, "right": right}
        out.write(json.dumps({"set": path.stem, **record}, ensure_ascii=False) + "\n")
    for key, n in sorted(counts.items()):
        print(f"{n:6} {key}")
    both = [r for r, o, t in zip(rows, ours, theirs) if o["equal"] == t != r["equal"]]
    print(f"{len(both):6} both differ from the label")


if __name__ == "__main__":
    main()
