"""One optimizer step of PyTorch: forward, cross-entropy, backward, clipping on request, AdamW.

    python step.py --shape small
    python step.py --shape qwen0.5b --dtype bf16 --optimizer fused --clip 1.0
"""

import torch
import torch.nn.functional as F
from measure import SHAPES, new_model, options, peak_rss_bytes, report, start, timed

BATCH = {"small": (8, 256), "qwen0.5b": (1, 256)}


def main():
    parser = options(__doc__, warmup=2, runs=5)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--batch", type=int, help="sequences; default 8 (small), 1 (qwen0.5b)")
    parser.add_argument("--length", type=int, help="tokens a sequence; default 256")
    parser.add_argument("--optimizer", choices=("fused", "foreach", "single"), default="fused")
    parser.add_argument("--clip", type=float, help="global norm")
    parser.add_argument("--keep-grads", action="store_true", help="zero gradients in place instead of freeing them")
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing, layer by layer")
    parser.add_argument("--compile", action="store_true", help="torch.compile the forward and backward pass")
    args = parser.parse_args()
    start(args)

    imported = peak_rss_bytes()
    batch, length = (given or usual for given, usual in zip((args.batch, args.length), BATCH[args.shape]))
    model = new_model(args.shape, args.dtype).train()
    if args.recompute:
        model.gradient_checkpointing_enable()
    ids = torch.randint(0, model.config.vocab_size, (batch, length))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, fused=args.optimizer == "fused", foreach=args.optimizer == "foreach"
    )

    def loss_of(ids):
        # the head on the positions that have a target only, so that no copy of the logits is made
        hidden = model.model(ids, use_cache=False).last_hidden_state[:, :-1]
        return F.cross_entropy(model.lm_head(hidden.flatten(0, 1)), ids[:, 1:].flatten())

    if args.compile:
        loss_of = torch.compile(loss_of)

    def step():
        optimizer.zero_grad(set_to_none=not args.keep_grads)
        loss_of(ids).backward()
        if args.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        optimizer.step()

    seconds = timed(step, args)
    report(
        f"step/{args.shape}/{args.dtype}",
        seconds,
        tokens=batch * length,
        batch=batch,
        length=length,
        optimizer=args.optimizer,
        rss_after_import_bytes=imported,
    )


if __name__ == "__main__":
    main()
