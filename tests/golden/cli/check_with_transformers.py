"""Loads folders made by `gft init-model` with transformers and compares what both compute.

    python check_with_transformers.py path/to/gft        # transformers 5 and PyTorch

For every family, with another dtype, template and head each: the tokenizer's ids and renderings, the log-probability of
every token of `gft logprobs` and the tokens of greedy `gft generate`. Prints the largest differences and fails when one
is above 1e-5 (DESIGN.md T9) in float32, when ids differ, or when greedy tokens differ where transformers' two likeliest
are further apart than that.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

GFT = pathlib.Path(sys.argv[1]).resolve()
TEXT = pathlib.Path(__file__).parent.parent / "data/rows/gsm8k-train-20.jsonl"
CASES = [
    ("llama", "chatml", []),
    ("llama", "plain", ["--untied", "--dtype", "bfloat16"]),
    ("mistral", "plain", ["--kv-heads", "4"]),
    ("qwen2", "chatml", ["--dtype", "float16", "--head-dim", "32"]),
    ("qwen3", "chatml", ["--untied"]),
]
CHAT = [{"role": "user", "content": "How many clips?"}, {"role": "assistant", "content": "72 clips."}]


def gft(*args, rows=()):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    done = subprocess.run([GFT, *args], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(folder, family, template, more):
    (summary,) = gft("init-model", folder, "--text", TEXT, "--family", family, "--chat-template", template, "--hidden",
                     "128", "--layers", "3", "--ffn", "256", "--vocab-size", "700", "--json", *more)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert sum(p.numel() for p in model.parameters()) == summary["parameters"]
    assert len(tokenizer) == summary["vocab_size"] == model.config.vocab_size
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == summary["eos_token_id"]

    questions = [json.loads(line)["question"] for line in open(TEXT, encoding="utf-8")][:6]
    rows = [{"prompt": text[:40], "completion": text[40:]} for text in questions]
    rows += [{"messages": CHAT}]
    scored = gft("logprobs", "--model", folder, rows=rows)
    for row, text in zip(scored, questions):
        assert tokenizer.decode(row["input_ids"]) == text
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=True, return_dict=False)
    ours = scored[-1]["input_ids"]
    assert rendered[: len(ours)] == ours, (rendered, ours)

    worst = 0.0
    for row in scored:
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            logprobs = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        found = torch.tensor(row["logprobs"][1:], dtype=torch.float32)
        assert row["logprobs"][0] is None
        worst = max(worst, (found - logprobs).abs().max().item())

    prompts = [{"prompt": text} for text in questions]
    greedy = gft("generate", "--model", folder, "--temperature", "0", "--max-new-tokens", "24", rows=prompts)
    equal = 0
    for row, question in zip(greedy, questions):
        chat = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
        assert prompt == row["prompt_ids"]
        tokens = row["completions"][0]["tokens"]
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24)
        theirs = out[0, len(prompt):].tolist()
        if tokens == theirs:
            equal += 1
            continue
        at = next(i for i, (a, b) in enumerate(zip(tokens, theirs)) if a != b)
        with torch.no_grad():
            top = model(out[:, : len(prompt) + at]).logits[0, -1].topk(2).values
        assert (top[0] - top[1]).item() < 1e-5, f"greedy differs at {at}: {tokens} {theirs}"
    print(f"{family:8} {template:7} {summary['dtype']:9} {summary['parameters']:>8} parameters: largest difference "
          f"{worst:.1e} over {sum(len(r['input_ids']) - 1 for r in scored)} tokens, greedy equal {equal}/{len(greedy)}")
    return worst


with tempfile.TemporaryDirectory() as scratch:
    worst = max(check(pathlib.Path(scratch) / f"m{i}", *case) for i, case in enumerate(CASES))
print(f"largest difference of a log-probability: {worst:.2e}")
assert worst < 1e-5
