"""The work of throughput.rs with datasets and transformers: python throughput.py MODEL_DIR FILE

Reads question/answer rows, renders prompt and conversation, tokenizes both in batches (the tokenizers library uses all
cores for a batch) and takes the completion as what stands behind the prompt.
"""

import sys
import time

import datasets
from transformers import AutoTokenizer

datasets.disable_caching()
datasets.disable_progress_bars()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])


def encode(batch):
    prompts = [[{"role": "user", "content": q}] for q in batch["question"]]
    whole = [p + [{"role": "assistant", "content": a}] for p, a in zip(prompts, batch["answer"])]
    prompt_texts = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
    whole_texts = tokenizer.apply_chat_template(whole, tokenize=False)
    prompt_ids = tokenizer(prompt_texts, add_special_tokens=False)["input_ids"]
    whole_ids = tokenizer(whole_texts, add_special_tokens=False)["input_ids"]
    return {"prompt": prompt_ids, "completion": [w[len(p):] for p, w in zip(prompt_ids, whole_ids)]}


start = time.perf_counter()
rows = datasets.load_dataset("json", data_files=sys.argv[2], split="train", cache_dir=None)
read = time.perf_counter()
rows = rows.map(encode, batched=True, remove_columns=rows.column_names)
tokens = sum(len(r["prompt"]) + len(r["completion"]) for r in rows)
end = time.perf_counter()
print(f"{len(rows)} rows, {tokens} tokens: read {read - start:.3f}s, all {end - start:.3f}s, {len(rows) / (end - start):.0f} rows/s")
