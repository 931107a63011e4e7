"""The work of crates/data/examples/read_and_tokenize.rs with datasets and transformers.

    python read_and_tokenize.py MODEL_DIR FILE [RUNS]

Reads question/answer rows, renders prompt and conversation, tokenizes both in batches (the tokenizers library uses all
cores for a batch) and takes the completion as what stands behind the prompt. Every run reads the file itself, into a
fresh cache. Prints one JSON line.
"""

import json
import resource
import statistics
import sys
import tempfile
import time

import datasets
from transformers import AutoTokenizer

datasets.disable_caching()
datasets.disable_progress_bars()
model, file = sys.argv[1:3]
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
tokenizer = AutoTokenizer.from_pretrained(model)


def encode(batch):
    prompts = [[{"role": "user", "content": q}] for q in batch["question"]]
    whole = [p + [{"role": "assistant", "content": a}] for p, a in zip(prompts, batch["answer"])]
    prompt_texts = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
    whole_texts = tokenizer.apply_chat_template(whole, tokenize=False)
    prompt_ids = tokenizer(prompt_texts, add_special_tokens=False)["input_ids"]
    whole_ids = tokenizer(whole_texts, add_special_tokens=False)["input_ids"]
    return {
        "prompt": prompt_ids,
        "completion": [w[len(p) :] for p, w in zip(prompt_ids, whole_ids)],
        "tokens": [len(w) for w in whole_ids],
    }


read, total = [], []
for _ in range(runs):
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        rows = datasets.load_dataset("json", data_files=file, split="train", cache_dir=cache)
        read.append(time.perf_counter() - start)
        rows = rows.map(encode, batched=True, remove_columns=rows.column_names)
        total.append(time.perf_counter() - start)
        tokens = sum(rows["tokens"])
seconds = statistics.median(total)
print(
    json.dumps(
        {
            "name": "read and tokenize",
            "median_s": seconds,
            "min_s": min(total),
            "runs": runs,
            "read_s": statistics.median(read),
            "rows": len(rows),
            "tokens": tokens,
            "rows_per_s": len(rows) / seconds,
            "tokens_per_s": tokens / seconds,
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
