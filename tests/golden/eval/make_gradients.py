"""Makes gradients.json: the norm of the gradient of -log p of single tokens, from PyTorch's autograd in float64.

    python tests/golden/eval/make_gradients.py

The models are the fixtures of tests/golden/model (tied and untied heads); prompts and completions are fixed numbers.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
PROMPT, TOKENS = [5, 17, 3, 44, 9], [12, 60, 7, 33, 2, 51]


def norms(name):
    folder = HERE.parent / "model" / name / "model"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    found = []
    for at in range(len(TOKENS)):
        model.zero_grad()
        logits = model(torch.tensor([PROMPT + TOKENS])).logits[0, len(PROMPT) + at - 1]
        (-torch.log_softmax(logits, -1)[TOKENS[at]]).backward()
        squares = sum((p.grad**2).sum() for p in model.parameters() if p.grad is not None)
        found.append(float(squares.sqrt()))
    return found


def main():
    models = {name: norms(name) for name in ("qwen2", "llama3")}
    out = {"prompt": PROMPT, "tokens": TOKENS, "norms": models}
    (HERE / "gradients.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
