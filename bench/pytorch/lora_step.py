"""One optimizer step of PEFT's LoRA in PyTorch: forward, cross-entropy, backward, clipping, AdamW on the adapters.

    python lora_step.py --shape qwen0.5b --dtype bf16
    python lora_step.py --shape qwen0.5b --dtype f32
"""

import torch
import torch.nn.functional as F
from measure import SHAPES, new_model, options, peak_rss_bytes, report, start, timed
from peft import LoraConfig, get_peft_model

BATCH = {"small": (8, 256), "qwen0.5b": (1, 256)}


def main():
    parser = options(__doc__, warmup=1, runs=3)
    parser.add_argument("--shape", choices=SHAPES, default="qwen0.5b")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing, layer by layer")
    args = parser.parse_args()
    start(args)

    imported = peak_rss_bytes()
    batch, length = BATCH[args.shape]
    model = new_model(args.shape, args.dtype)
    config = LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, config).train()  # adapters are f32 whatever the base: PEFT's default
    if args.recompute:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
    trained = [p for p in model.parameters() if p.requires_grad]
    ids = torch.randint(0, model.config.vocab_size, (batch, length))
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    decoder = model.get_base_model()

    def step():
        optimizer.zero_grad(set_to_none=True)
        hidden = decoder.model(ids, use_cache=False).last_hidden_state[:, :-1]
        F.cross_entropy(decoder.lm_head(hidden.flatten(0, 1)), ids[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    seconds = timed(step, args)
    report(
        f"lora/{args.shape}/{args.dtype}",
        seconds,
        tokens=batch * length,
        batch=batch,
        length=length,
        trained=sum(p.numel() for p in trained),
        rss_after_import_bytes=imported,
    )


if __name__ == "__main__":
    main()
