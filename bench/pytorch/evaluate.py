"""Greedy evaluation on GSM8K: transformers' `generate` in batches, or `gft eval` as a process.

    python evaluate.py --model DIR --data gsm8k-test.jsonl --limit 256 --batch 64
    python evaluate.py --model DIR --data gsm8k-test.jsonl --limit 256 --gft ../target/release/gft

Both give the model the question and a line break (what `gft` does with a model that has no chat template), and end a
completion at the end-of-text token or the limit. Transformers has the prompts sorted by length, so that batches are
padded little, and only its generation is timed; of `gft eval` the whole process is, with loading and grading.
"""

import json
import subprocess
import tempfile
import time

import torch
from measure import DTYPES, options, report, start, timed
from transformers import AutoModelForCausalLM, AutoTokenizer


def questions(args):
    with open(args.data) as file:
        return [json.loads(line)["question"] for line in file][: args.limit]


def with_transformers(args):
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=DTYPES[args.dtype]).eval()
    prompts = sorted((tokenizer(q + "\n", add_special_tokens=False).input_ids for q in questions(args)), key=len)
    end = tokenizer.eos_token_id
    tokens = 0

    def run():
        nonlocal tokens
        tokens = 0
        for first in range(0, len(prompts), args.batch):
            batch = tokenizer.pad({"input_ids": prompts[first : first + args.batch]}, return_tensors="pt")
            with torch.inference_mode():
                out = model.generate(
                    **batch, do_sample=False, max_new_tokens=args.new_tokens, eos_token_id=end, pad_token_id=end
                )
            for row in out[:, batch.input_ids.shape[1] :].tolist():
                tokens += row.index(end) + 1 if end in row else len(row)

    seconds = timed(run, args)
    report(f"transformers batch {args.batch}", seconds, tokens, problems=len(prompts), new_tokens=tokens)


def with_gft(args):
    found = {}

    def run():
        with tempfile.TemporaryDirectory() as folder:
            command = [args.gft, "eval", args.data, "--model", args.model, "--limit", str(args.limit), "--json", "-q"]
            command += ["--max-new-tokens", str(args.new_tokens), "--batch", str(args.batch), "--output-dir", folder]
            out = subprocess.run(command, check=True, capture_output=True, text=True)
        found.update(json.loads(out.stdout)["tasks"][0]["summary"])

    seconds = timed(run, args)
    tokens = round(found["lengths"]["mean"] * found["problems"])
    report(f"gft eval batch {args.batch}", seconds, tokens, problems=found["problems"], new_tokens=tokens)


def main():
    parser = options(__doc__.splitlines()[0], warmup=0, runs=1)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--gft", help="the binary; without it transformers is measured")
    args = parser.parse_args()
    start(args)
    begin = time.perf_counter()
    (with_gft if args.gft else with_transformers)(args)
    print(f"# {time.perf_counter() - begin:.1f} s in all")


if __name__ == "__main__":
    main()
