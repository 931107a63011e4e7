"""Greedy decoding with PyTorch: transformers' `generate`, and a plain loop with a static KV cache.

    python decode.py --how generate
    python decode.py --how loop --shape qwen0.5b --batch 1
"""

import torch
import torch.nn.functional as F
from measure import SHAPES, new_model, options, report, start, timed


class Product:
    """x [.., in] times a weight kept as [out, in], in one of the forms PyTorch offers: which is fastest depends on the
    rows and the processor. `packed` uses the private oneDNN operators that torch.compile's freezing uses."""

    def __init__(self, weight, form, rows):
        self.form = form
        if form == "transposed":
            weight = weight.t().contiguous()
        elif form == "packed":
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        self.weight = weight

    def __call__(self, x):
        if self.form == "linear":
            return F.linear(x, self.weight)
        if self.form == "transposed":
            return x @ self.weight
        if self.form == "left":  # W x^T, transposed back
            return (self.weight @ x.flatten(0, -2).t()).t().unflatten(0, x.shape[:-1])
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")


class Loop:
    """The same model without modules: fused QKV and gate-up weights, a KV cache allocated once, grouped attention."""

    def __init__(self, model, batch, capacity, form):
        config = model.config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.hidden_size // self.heads
        self.eps = config.rms_norm_eps
        self.embedding, self.norm = model.model.embed_tokens.weight, model.model.norm.weight
        product = lambda weight: Product(weight, form, batch)  # noqa: E731
        self.layers = [self.fused(layer, product) for layer in model.model.layers]
        self.head = product(self.embedding)
        dtype = self.embedding.dtype
        shape = (len(self.layers), batch, self.kv_heads, capacity, self.head_dim)
        self.keys, self.values = torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)
        theta = config.rope_parameters["rope_theta"]
        frequency = theta ** (-torch.arange(0, self.head_dim, 2).float() / self.head_dim)
        angle = torch.arange(capacity).float()[:, None] * frequency.repeat(2)
        self.cos, self.sin = angle.cos().to(dtype), angle.sin().to(dtype)

    @staticmethod
    def fused(layer, product):
        a, m = layer.self_attn, layer.mlp
        projections = (a.q_proj, a.k_proj, a.v_proj)
        return (
            layer.input_layernorm.weight,
            product(torch.cat([p.weight for p in projections])),
            torch.cat([p.bias for p in projections]),
            product(a.o_proj.weight),
            layer.post_attention_layernorm.weight,
            product(torch.cat([m.gate_proj.weight, m.up_proj.weight])),
            product(m.down_proj.weight),
        )

    def rotate(self, x, begin, end):
        half = self.head_dim // 2
        turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
        return x * self.cos[begin:end] + turned * self.sin[begin:end]

    def forward(self, ids, begin):
        """[B, T] at positions begin.. -> logits [B, V] of the last one. Writes the cache."""
        batch, length = ids.shape
        end = begin + length
        hidden = F.embedding(ids, self.embedding)
        width = (hidden.shape[-1],)
        for i, (norm1, qkv, bias, out, norm2, gate_up, down) in enumerate(self.layers):
            x = qkv(F.rms_norm(hidden, width, norm1, self.eps)) + bias
            x = x.view(batch, length, -1, self.head_dim).transpose(1, 2)
            q, k, v = x.split((self.heads, self.kv_heads, self.kv_heads), dim=1)
            self.keys[i, :, :, begin:end] = self.rotate(k, begin, end)
            self.values[i, :, :, begin:end] = v
            x = F.scaled_dot_product_attention(
                self.rotate(q, begin, end),
                self.keys[i, :, :, :end],
                self.values[i, :, :, :end],
                is_causal=length > 1,
                enable_gqa=True,
            )
            hidden = hidden + out(x.transpose(1, 2).reshape(batch, length, -1))
            gate, up = gate_up(F.rms_norm(hidden, width, norm2, self.eps)).chunk(2, dim=-1)
            hidden = hidden + down(F.silu(gate) * up)
        return self.head(F.rms_norm(hidden[:, -1], width, self.norm, self.eps))

    def generate(self, ids, new_tokens):
        out, position = [], 0
        for _ in range(new_tokens):
            token = self.forward(ids, position).argmax(-1, keepdim=True)
            out.append(token)
            position, ids = position + ids.shape[1], token
        return torch.cat(out, dim=1)


def with_generate(model, prompts, new_tokens):
    out = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=False,
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        pad_token_id=0,
    )
    return out[:, prompts.shape[1] :]


@torch.inference_mode()
def main():
    parser = options(__doc__, warmup=1, runs=5)
    parser.add_argument("--how", choices=("generate", "loop"), default="generate")
    parser.add_argument("--form", choices=("linear", "transposed", "left", "packed"), default="linear", help="of loop")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=32, help="tokens a prompt")
    parser.add_argument("--new", type=int, default=64, help="tokens generated a prompt")
    parser.add_argument("--check", action="store_true", help="compare both ways instead of timing")
    args = parser.parse_args()
    start(args)

    model = new_model(args.shape, args.dtype).eval()
    prompts = torch.randint(0, model.config.vocab_size, (args.batch, args.prompt))
    if args.check or args.how == "loop":
        loop = Loop(model, args.batch, args.prompt + args.new, args.form)
    if args.check:
        same = (with_generate(model, prompts, args.new) == loop.generate(prompts, args.new)).float().mean().item()
        print(f"{same:.4f} of the tokens are equal")
        return
    if args.how == "generate":
        run = lambda: with_generate(model, prompts, args.new)  # noqa: E731
    else:
        run = lambda: loop.generate(prompts, args.new)  # noqa: E731
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    seconds = timed(run, args)
    median = sorted(seconds)[len(seconds) // 2]
    report(
        f"decode/{args.shape}/b{args.batch}/{args.dtype}",
        seconds,
        tokens=args.batch * args.new,
        how=args.how if args.how == "generate" else f"loop, {args.form}",
        weight_bytes_per_s=weights * args.new / median,
    )


if __name__ == "__main__":
    main()
