"""What the benchmark scripts share: the two model shapes, the common options, timing, and the JSON line they print."""

import argparse
import json
import resource
import statistics
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

# The same shapes as `gft bench` uses. Both have QKV bias and a head tied to the embedding, as Qwen2 has at this size.
SHAPES = {
    "small": dict(
        hidden_size=256, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2, intermediate_size=1024,
        vocab_size=4096,
    ),
    "qwen0.5b": dict(
        hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864,
        vocab_size=151936,
    ),
}  # fmt: skip
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def options(description, warmup, runs):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--warmup", type=int, default=warmup, help="runs that are not measured")
    parser.add_argument("--runs", type=int, default=runs, help="runs that are measured")
    parser.add_argument("--dtype", choices=DTYPES, default="f32", help="of weights, gradients and optimizer state")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def start(args):
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)


def new_model(shape, dtype, max_positions=4096):
    config = Qwen2Config(
        **SHAPES[shape],
        tie_word_embeddings=True,
        max_position_embeddings=max_positions,
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=None,
    )
    default = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[dtype])
    model = Qwen2ForCausalLM(config)
    torch.set_default_dtype(default)
    return model


def timed(run, args):
    """Seconds of each measured run."""
    for _ in range(args.warmup):
        run()
    seconds = []
    for _ in range(args.runs):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return seconds


def peak_rss_bytes():
    """Of this process since it began, the interpreter and the libraries included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(name, seconds, tokens=None, **more):
    median = statistics.median(seconds)
    line = {"name": name, "median_s": median, "min_s": min(seconds), "runs": len(seconds)}
    line["peak_rss_bytes"] = peak_rss_bytes()
    if tokens is not None:
        line["tokens_per_s"] = tokens / median
    print(json.dumps(line | more), flush=True)
