"""Holds the verifier against reference answers that it has not seen: each must equal itself, the verdict must be the same in
both directions, and an answer boxed in a sentence must be equal.

    cargo build --release -p gft-verify --example check
    python3 bench/verify/golds.py FILE.jsonl...

A row's answer is its `answer`, `final_answer`, `Answer`, `target`, `correct`, or what its `solution` has in its last box or behind `####`.
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

FIELDS = ["final_answer", "answer", "Answer", "target", "correct", "solution"]
SENTENCES = ["Therefore, the answer is $\\boxed{%s}$.", "\\boxed{%s}", "$$\\boxed{%s}$$ is what we wanted."]


def last_box(text):
    at = text.rfind("\\boxed{")
    if at < 0:
        return None
    depth, start = 0, at + len("\\boxed")
    for i in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start + 1:i]
    return None


def answer_of(row):
    for field in FIELDS:
        value = row.get(field)
        if isinstance(value, list) and value:
            value = value[0]
        if value is None or value == "":
            continue
        text = str(value)
        if "####" in text:
            return text.split("####")[-1].strip()
        return last_box(text) if field == "solution" else text
    return None


def listed(options):
    return [o for o in options if isinstance(o, str)] if isinstance(options, list) else []


def rows_of(path):
    text = path.read_text()
    if path.suffix == ".json":
        start = text.index("{")
        body = json.JSONDecoder().raw_decode(text[start:])[0] if text.rstrip().endswith("}") else {}
        return list(body.values())
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--check", default="target/release/examples/check", help="the check example")
    args = parser.parse_args()
    total = 0
    for path in args.files:
        rows = rows_of(path)
        # The options of a multiple-choice row are answers too, with their letter.
        options = [option for row in rows for option in listed(row.get("options"))]
        golds = sorted({a for a in [*map(answer_of, rows), *options] if a and a.strip()})
        pairs = []
        for gold in golds:
            bare = re.sub(r"^\$(.*)\$$", r"\1", gold)
            pairs.append((gold, gold))
            pairs.append((gold, gold + "\\,"))
            pairs += [(gold, s % (bare if "$" not in bare else gold)) for s in SENTENCES]
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            for gold, answer in pairs:
                file.write(json.dumps({"gold": gold, "answer": answer, "equal": True}) + "\n")
            file.flush()
            output = subprocess.run([args.check, file.name], capture_output=True, text=True, check=True).stdout
        total += len(golds)
        print(f"{path.name}: {len(golds)} answers")
        print("  " + "\n  ".join(line for line in output.splitlines() if not line.startswith("checks/s")))
    print(f"{total} answers")


if __name__ == "__main__":
    main()
