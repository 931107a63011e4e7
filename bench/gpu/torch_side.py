"""PyTorch's side of `run.py` on a card: a training step (SDPA, fused AdamW) and transformers' `generate`.

    python torch_side.py step --batch 16 --seq 1024 --how autocast      # f32 masters, products in bf16: what gft computes
    python torch_side.py step --batch 16 --seq 1024 --how bf16          # everything in bf16, moments too
    python torch_side.py decode --batch 256 --prompt 64 --new 256
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from transformers import Qwen2Config, Qwen2ForCausalLM

SHAPES = {
    "small": (256, 6, 4, 2, 1024, 4096),
    "qwen0.5b": (896, 24, 14, 2, 4864, 151936),
    "qwen1.5b": (1536, 28, 12, 2, 8960, 151936),
}


def new_model(shape, dtype):
    hidden, layers, heads, kv_heads, ffn, vocab = SHAPES[shape]
    config = Qwen2Config(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
        intermediate_size=ffn, vocab_size=vocab, tie_word_embeddings=True, max_position_embeddings=32768,
        attn_implementation="sdpa", bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device("cuda"):
        return Qwen2ForCausalLM(config).to(dtype)


def timed(run, args):
    for _ in range(args.warmup):
        run()
    seconds = []
    for _ in range(args.runs):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return seconds


def report(name, seconds, tokens):
    median = statistics.median(seconds)
    line = {"name": name, "median_s": median, "min_s": min(seconds), "runs": len(seconds)}
    line |= {"tokens_per_s": tokens / median, "allocated_bytes": torch.cuda.max_memory_allocated()}
    print(json.dumps(line), flush=True)


def step(args):
    # As gft computes: plain f32 where products are not bf16.
    torch.backends.cuda.matmul.allow_tf32 = False
    model = new_model(args.shape, torch.float32 if args.how == "autocast" else torch.bfloat16).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(0, model.config.vocab_size, (args.batch, args.seq), device="cuda")

    def loss_of():
        with torch.autocast("cuda", torch.bfloat16, enabled=args.how == "autocast"):
            hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
        # The head in chunks of rows, each computed again in the backward pass: whole logits would take 10 GB here.
        targets, total = ids[:, 1:].flatten(), 0.0
        for rows, wanted in zip(hidden.split(2048), targets.split(2048), strict=True):
            total = total + torch.utils.checkpoint.checkpoint(chunk, rows, wanted, use_reentrant=False)
        return total / targets.numel()

    def chunk(rows, wanted):
        with torch.autocast("cuda", torch.bfloat16, enabled=args.how == "autocast"):
            logits = model.lm_head(rows)
        return F.cross_entropy(logits.float(), wanted, reduction="sum")

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss_of().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    report(f"step/{args.shape}/{args.how}", timed(run, args), args.batch * args.seq)


@torch.inference_mode()
def decode(args):
    model = new_model(args.shape, torch.bfloat16).eval()
    prompts = torch.randint(0, model.config.vocab_size, (args.batch, args.prompt), device="cuda")

    def run():
        model.generate(prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_new_tokens=args.new,
                       min_new_tokens=args.new, pad_token_id=0)  # fmt: skip

    report(f"decode/{args.shape}", timed(run, args), args.batch * args.new)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "decode"))
    parser.add_argument("--shape", choices=SHAPES, default="qwen1.5b")
    parser.add_argument("--how", choices=("autocast", "bf16"), default="autocast")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seq", type=int, default=1024)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--new", type=int, default=256)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    step(args) if args.what == "step" else decode(args)


if __name__ == "__main__":
    main()
