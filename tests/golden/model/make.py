"""Makes the golden fixtures of the policy engine: tiny model folders and what transformers and PyTorch say about them.

    python make.py                 every case
    python make.py llama3 qwen2    these cases only

Each case is a folder: `model/` as `save_pretrained` writes it, `expected.safetensors`, `expected.json`. README.md beside
this script says what each key holds. Expected values come from the folder as it lies on disk, loaded again and computed
in float64. Transformers casts to float32 inside RMSNorm and RoPE whatever the model's dtype; `in_float64` undoes that.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import safetensors
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

HERE = Path(__file__).resolve().parent
SEQUENCE_LENGTHS = (13, 9)
PROMPT_LENGTH, NEW_TOKENS = 5, 16
ADAMW = dict(lr=3e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
ADAMW_STEPS = 10

SIZES = dict(
    vocab_size=72,
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    rms_norm_eps=1e-6,
    bos_token_id=1,
    eos_token_id=None,
    pad_token_id=None,
    attn_implementation="sdpa",
)


def sizes(**changes):
    return {**SIZES, **changes}


# With head_dim 16 and theta 500000 the wavelengths are 6.3, 32, 167, 860 ...: the first is above the high frequency
# bound (64 / 4 = 16), the second between the bounds, the rest below (64 / 1): all three branches of the scaling act.
LLAMA3_ROPE = dict(
    rope_type="llama3",
    rope_theta=500000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
ROPE_10K = dict(rope_type="default", rope_theta=10000.0)
ROPE_1M = dict(rope_type="default", rope_theta=1000000.0)

# case: (config, dtype on disk, more arguments of save_pretrained). The seed of a case is its place in this table.
CASES = {
    "llama2": (
        LlamaConfig(**sizes(num_key_value_heads=4, rms_norm_eps=1e-3, rope_parameters=ROPE_10K)),
        torch.float32,
        {},
    ),
    "llama3": (
        LlamaConfig(**sizes(head_dim=16, rms_norm_eps=1e-3, tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE)),
        torch.float32,
        {},
    ),
    "qwen2": (Qwen2Config(**sizes(tie_word_embeddings=True, rope_parameters=ROPE_1M)), torch.float32, {}),
    "qwen3": (
        Qwen3Config(**sizes(head_dim=16, tie_word_embeddings=True, rope_parameters=ROPE_1M)),
        torch.float32,
        {},
    ),
    "mistral": (
        MistralConfig(**sizes(sliding_window=5, rms_norm_eps=1e-3, rope_parameters=ROPE_10K)),
        torch.float32,
        {},
    ),
    "llama_bias": (
        LlamaConfig(**sizes(attention_bias=True, mlp_bias=True, rope_parameters=ROPE_10K)),
        torch.float32,
        {},
    ),
    "qwen2_untied": (Qwen2Config(**sizes(rope_parameters=ROPE_1M)), torch.float32, {}),
    "qwen3_sliding": (
        Qwen3Config(
            **sizes(
                head_dim=12,
                use_sliding_window=True,
                sliding_window=4,
                layer_types=["sliding_attention", "full_attention"],
                rope_parameters=ROPE_1M,
            )
        ),
        torch.float32,
        {},
    ),
    "llama_bf16": (LlamaConfig(**sizes(rope_parameters=ROPE_10K)), torch.bfloat16, {}),
    "qwen2_f16": (Qwen2Config(**sizes(tie_word_embeddings=True, rope_parameters=ROPE_1M)), torch.float16, {}),
    "llama_sharded": (
        LlamaConfig(**sizes(vocab_size=48, rope_parameters=ROPE_10K)),
        torch.float32,
        dict(max_shard_size="24KB"),
    ),
    "rope_linear": (
        LlamaConfig(
            **sizes(num_hidden_layers=1, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0))
        ),
        torch.float32,
        {},
    ),
    "rope_yarn": (
        Qwen2Config(
            **sizes(
                num_hidden_layers=1,
                tie_word_embeddings=True,
                rope_parameters=dict(
                    rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32
                ),
            )
        ),
        torch.float32,
        {},
    ),
}


WITH_TRANSFORMERS4_CONFIG = ("llama3", "qwen2", "mistral", "rope_linear", "rope_yarn")


def new_model(config, seed):
    """A model whose every parameter is random: a norm or a bias that is ignored then shows in the logits."""
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if name.endswith("norm.weight") else 0.0
            parameter.copy_(mean + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def rms_norm_float64(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def rope_float64(self, x, position_ids):
    angle = position_ids[:, :, None].double() * self.inv_freq.double()
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos() * self.attention_scaling, angle.sin() * self.attention_scaling


def in_float64(model):
    """The same model, really in float64: weights, norms, angles, softmax (SDPA keeps the dtype)."""
    model = model.double()
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("RMSNorm"):
            module.forward = rms_norm_float64.__get__(module)
        elif kind.endswith("RotaryEmbedding"):
            assert "dynamic" not in module.rope_type and module.rope_type != "longrope"
            module.forward = rope_float64.__get__(module)
    return model


def load(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    return in_float64(model) if dtype == torch.float64 else model


def sequences(vocab_size, seed):
    generator = torch.Generator().manual_seed(1000 + seed)
    return [torch.randint(0, vocab_size, (n,), generator=generator) for n in SEQUENCE_LENGTHS]


def token_logprobs(logits, ids):
    """[T, V], [T] -> [T - 1]: log-prob of token i + 1 given the tokens up to i."""
    return torch.log_softmax(logits[:-1], dim=-1).gather(-1, ids[1:, None]).squeeze(-1)


def forward(model, inputs):
    """Each sequence alone, so that no padding is involved. The loss is the mean over the targets of both sequences."""
    logits = [model(ids[None], use_cache=False).logits[0] for ids in inputs]
    logprobs = [token_logprobs(x, ids) for x, ids in zip(logits, inputs)]
    return logits, logprobs, -torch.cat(logprobs).mean()


def adamw_losses(folder, inputs, dtype):
    """The loss before each of ten AdamW steps, and after the last: eleven values."""
    model = load(folder, dtype)
    optimizer = torch.optim.AdamW(model.parameters(), **ADAMW, foreach=False)
    losses = []
    for _ in range(ADAMW_STEPS):
        optimizer.zero_grad()
        loss = forward(model, inputs)[2]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        losses.append(forward(model, inputs)[2].item())
    return torch.tensor(losses, dtype=torch.float64)


def greedy(folder, seed):
    """A prompt whose greedy continuation is unambiguous (the best logit leads by 0.01 at each step) and not one token
    over and over; float32 `generate` and the float64 model without a cache must agree on it."""
    exact, model = load(folder, torch.float64), load(folder, torch.float32)
    for attempt in range(1000):
        generator = torch.Generator().manual_seed(2000 + 1000 * seed + attempt)
        prompt = torch.randint(0, model.config.vocab_size, (PROMPT_LENGTH,), generator=generator)
        out = model.generate(
            prompt[None],
            attention_mask=torch.ones_like(prompt)[None],
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=None,
            pad_token_id=0,
        )[0]
        tokens = out[PROMPT_LENGTH:]
        with torch.no_grad():
            logits = exact(out[None], use_cache=False).logits[0, PROMPT_LENGTH - 1 : -1]
        assert torch.equal(logits.argmax(-1), tokens) or (margins(logits) < 1e-4).any()
        if margins(logits).min() > 0.01 and len(set(tokens.tolist())) >= 6:
            return prompt, tokens, margins(logits).min().item()
    raise SystemExit(f"{folder}: no unambiguous greedy prompt in 1000 attempts")


def margins(logits):
    best = logits.topk(2, dim=-1).values
    return best[:, 0] - best[:, 1]


# Reading one of these keys wrongly must show: what the mistake would be, for the cases that have the key.
MISTAKES = {
    "rms_norm_eps": lambda c: c.rms_norm_eps > 1e-4 and dict(rms_norm_eps=1e-6),
    "rope_theta": lambda c: dict(rope_parameters={**c.rope_parameters, "rope_theta": 20000.0}),
    "rope scaling": lambda c: c.rope_parameters["rope_type"] != "default"
    and dict(rope_parameters=dict(rope_type="default", rope_theta=c.rope_parameters["rope_theta"])),
    "sliding_window": lambda c: getattr(c, "sliding_window", None) and dict(sliding_window=c.sliding_window + 1),
    "layer_types": lambda c: "sliding_attention" in (getattr(c, "layer_types", None) or [])
    and dict(layer_types=c.layer_types[::-1]),
}


def check_that_config_matters(folder, inputs, logits):
    """Each mistake must move a logit by far more than the bar of the engine's test (1e-4)."""
    for key, mistake in MISTAKES.items():
        config = AutoConfig.from_pretrained(folder)
        if changes := mistake(config):
            config.update(changes)
            model = AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=torch.float32, attn_implementation="sdpa"
            )
            with torch.no_grad():
                wrong = forward(in_float64(model), inputs)[0]
            moved = max((a - b).abs().max().item() for a, b in zip(logits, wrong))
            assert moved > 5e-3, f"{folder}: a wrong {key} moves the logits by {moved:.1e} only"


def write_transformers4_config(folder, inputs, logits):
    """The same config in the keys of transformers 4, beside the model folder; transformers must read both alike."""
    config = json.loads((folder / "model/config.json").read_text())
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    config.pop("layer_types", None)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    if rope["rope_type"] == "linear":  # the oldest spelling
        rope["type"] = rope.pop("rope_type")
    config["rope_scaling"] = None if rope.get("rope_type") == "default" else rope
    path = folder / "config.transformers4.json"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    read = AutoConfig.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(folder / "model", config=read, dtype=torch.float32)
    with torch.no_grad():
        again = forward(in_float64(model), inputs)[0]
    assert all(torch.equal(a, b) for a, b in zip(logits, again)), f"{path} is read differently"


def write(folder, tensors, description):
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")
    text = json.dumps(description, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda x: f"[{' '.join(x[0][1:-1].split())}]", text)  # a list of numbers on one line
    (folder / "expected.json").write_text(text + "\n")


def make_case(name, config, dtype, saving):
    seed = list(CASES).index(name)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    new_model(config, seed).to(dtype).save_pretrained(folder / "model", **saving)

    inputs = sequences(config.vocab_size, seed)
    model = load(folder / "model", torch.float64)
    logits, logprobs, loss = forward(model, inputs)
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    silent = [n for n, g in gradients.items() if g.norm() < 1e-4]
    assert not silent, f"{name}: no gradient reaches {silent}"

    check_that_config_matters(folder / "model", inputs, logits)
    if name in WITH_TRANSFORMERS4_CONFIG:
        write_transformers4_config(folder, inputs, logits)
    with torch.no_grad():
        logits32, logprobs32, _ = forward(load(folder / "model", torch.float32), inputs)
    exact, plain = (adamw_losses(folder / "model", inputs, d) for d in (torch.float64, torch.float32))
    prompt, tokens, margin = greedy(folder / "model", seed)

    tensors = {"loss": loss, "adamw.losses": exact, "greedy.prompt": prompt, "greedy.tokens": tokens}
    for i, ids in enumerate(inputs):
        tensors[f"input_ids.{i}"] = ids
        tensors[f"logits.{i}"] = logits[i].float()
        tensors[f"logprobs.{i}"] = logprobs[i].float()
    for parameter, gradient in gradients.items():
        tensors[f"grad.{parameter}"] = gradient.float()
    write(
        folder,
        tensors,
        {
            "case": name,
            "parameters": {n: list(p.shape) for n, p in model.named_parameters()},
            "adamw": ADAMW,
            "greedy_smallest_margin": margin,
            "pytorch_float32_against_float64": {
                "logits_max_abs": max((a - b).abs().max().item() for a, b in zip(logits, logits32)),
                "logprobs_max_abs": max((a - b).abs().max().item() for a, b in zip(logprobs, logprobs32)),
                "adamw_losses_max_rel": ((exact - plain) / exact).abs().max().item(),
            },
        },
    )
    print(f"{name}: loss {loss.item():.4f} -> {exact[-1]:.4f}, greedy {tokens.tolist()}, margin {margin:.3f}")


def record_versions():
    versions = dict(
        python=sys.version.split()[0],
        torch=torch.__version__,
        transformers=transformers.__version__,
        safetensors=safetensors.__version__,
    )
    (HERE / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


def set_up():
    torch.set_num_threads(2)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def main():
    set_up()
    chosen = sys.argv[1:] or list(CASES)
    for name in chosen:
        if name not in CASES:
            raise SystemExit(f"unknown case {name}; known: {' '.join(CASES)}")
        make_case(name, *CASES[name])
    record_versions()


if __name__ == "__main__":
    main()
