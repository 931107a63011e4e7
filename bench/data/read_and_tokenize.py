"""The work of crates/data/examples/read_and_tokenize.rs in Python, in three forms.

    python read_and_tokenize.py MODEL_DIR FILE [--how map|processes|encode-batch] [--runs N]

Reads question/answer rows, renders prompt and conversation, tokenizes both and takes the completion as what stands
behind the prompt.

- map: datasets' batched map with transformers' tokenizer; the tokenizers library uses all cores for a batch.
- processes: the same with num_proc = number of cores.
- encode-batch: json alone and the tokenizers library's encode_batch_fast over all rows at once, without datasets.

Every run reads the file itself, into a fresh cache. Prints one JSON line.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("file")
parser.add_argument("--how", choices=["map", "processes", "encode-batch"], default="map")
parser.add_argument("--runs", type=int, default=3)
args = parser.parse_args()
if args.how == "processes":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

import datasets  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

datasets.disable_caching()
datasets.disable_progress_bars()
tokenizer = AutoTokenizer.from_pretrained(args.model)


def texts(questions, answers):
    prompts = [[{"role": "user", "content": q}] for q in questions]
    whole = [p + [{"role": "assistant", "content": a}] for p, a in zip(prompts, answers)]
    return (
        tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False),
        tokenizer.apply_chat_template(whole, tokenize=False),
    )


def encode(batch):
    prompts, whole = texts(batch["question"], batch["answer"])
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    whole_ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    return {
        "prompt": prompt_ids,
        "completion": [w[len(p) :] for p, w in zip(prompt_ids, whole_ids)],
        "tokens": [len(w) for w in whole_ids],
    }


def with_datasets(cache, processes):
    """-> seconds of reading, rows, tokens."""
    start = time.perf_counter()
    rows = datasets.load_dataset("json", data_files=args.file, split="train", cache_dir=cache)
    read = time.perf_counter() - start
    rows = rows.map(encode, batched=True, remove_columns=rows.column_names, num_proc=processes)
    return read, len(rows), sum(rows["tokens"])


def with_encode_batch():
    start = time.perf_counter()
    with open(args.file, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    read = time.perf_counter() - start
    prompts, whole = texts([r["question"] for r in rows], [r["answer"] for r in rows])
    batch = tokenizer.backend_tokenizer.encode_batch_fast
    prompt_ids = [e.ids for e in batch(prompts, add_special_tokens=False)]
    whole_ids = [e.ids for e in batch(whole, add_special_tokens=False)]
    completions = [w[len(p) :] for p, w in zip(prompt_ids, whole_ids)]
    return read, len(rows), sum(map(len, prompt_ids)) + sum(map(len, completions))


read, total = [], []
for _ in range(args.runs):
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        if args.how == "encode-batch":
            read_s, rows, tokens = with_encode_batch()
        else:
            read_s, rows, tokens = with_datasets(cache, os.cpu_count() if args.how == "processes" else None)
        total.append(time.perf_counter() - start)
        read.append(read_s)
seconds = statistics.median(total)
print(
    json.dumps(
        {
            "name": "read and tokenize",
            "median_s": seconds,
            "min_s": min(total),
            "runs": args.runs,
            "read_s": statistics.median(read),
            "rows": rows,
            "tokens": tokens,
            "rows_per_s": rows / seconds,
            "tokens_per_s": tokens / seconds,
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
