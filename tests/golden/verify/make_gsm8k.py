"""Writes gsm8k.jsonl: the ends of solutions from GSM8K with the reference answer and whether they reach it.

    python3 tests/golden/verify/make_gsm8k.py gsm8k-groups.jsonl > tests/golden/verify/gsm8k.jsonl

The input holds GSM8K test questions with the expert solution and model solutions, all from
openai/grade-school-math (MIT licence, copyright OpenAI). The label compares the digits behind the last "A:".
"""

import json
import sys


def number(text):
    return text.rsplit("A:", 1)[1].strip().replace(",", "") if "A:" in text else None


def main():
    kept = 0
    for index, line in enumerate(open(sys.argv[1], encoding="utf-8")):
        if index % 53:
            continue
        row = json.loads(line)
        gold = number(row["solution"])
        texts = [row["solution"]] + [t["content"] for t in row["teacher_completions"]]
        for text in texts:
            answer = number(text)
            if answer is None or not answer.lstrip("-").replace(".", "", 1).isdigit():
                continue
            equal = float(answer) == float(gold)
            record = {"completion": text[-120:], "gold": gold, "equal": equal}
            print(json.dumps(record, ensure_ascii=False))
            kept += 1
    print(kept, file=sys.stderr)


if __name__ == "__main__":
    main()
