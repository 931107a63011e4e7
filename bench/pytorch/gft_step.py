"""One whole GFT step written plainly with PyTorch and transformers: what a user's script does without an engine of its own.

For each of P prompts a group of 8: 1 expert, 3 teacher completions (given), 4 sampled from the policy with `generate`.
Then rewards, group advantages, and one update with the DCR coefficient (GFT, arXiv 2604.14258, eq. 4, 5 and 21) over a
right-padded batch. Prints one JSON line for each phase and one for the whole step. Left out: tokenization, real rewards.

    python gft_step.py --prompts 4
"""

import time

import torch
import torch.nn.functional as F
from measure import SHAPES, new_model, options, report, start

EXPERT, TEACHER, OWN = 1, 3, 4
GROUP = EXPERT + TEACHER + OWN
PAD, TAU = 0, 0.7


def completions_given(prompts, new_tokens, vocab):
    """[P, 4] lists: expert and teacher completions, of half to the whole of `new_tokens`."""
    lengths = torch.randint(new_tokens // 2, new_tokens + 1, (prompts, EXPERT + TEACHER))
    return [[torch.randint(1, vocab, (n,)) for n in row] for row in lengths.tolist()]


def rollout(model, prompts, new_tokens):
    """[P, T] -> [P][4] completions."""
    model.eval()
    with torch.inference_mode():
        out = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            num_return_sequences=OWN,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            pad_token_id=PAD,
        )
    model.train()
    return list(out[:, prompts.shape[1] :].clone().unflatten(0, (-1, OWN)))


def reward(completion, vocab):
    """Stands for a verifier: the share of tokens in the lower half of the vocabulary."""
    return (completion < vocab // 2).float().mean().item()


def advantages(rewards):
    return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-6)


def padded(prompts, groups):
    """Right-padded ids and attention mask [P * 8, L], and the mask of completion tokens."""
    rows = [torch.cat((prompt, c)) for prompt, group in zip(prompts, groups) for c in group]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    position = torch.arange(ids.shape[1])
    attention = position < torch.tensor([len(r) for r in rows])[:, None]
    return ids, attention.long(), attention & (position >= prompts.shape[1])


def update(model, optimizer, prompts, groups, advantage, rows_at_once):
    ids, attention, target = padded(prompts, groups)
    denominator = target.sum()
    optimizer.zero_grad()
    for i in range(0, len(ids), rows_at_once):
        part = slice(i, i + rows_at_once)
        logits = model(ids[part], attention_mask=attention[part], use_cache=False).logits[:, :-1]
        logprobs = -F.cross_entropy(logits.flatten(0, 1), ids[part, 1:].flatten(), reduction="none").view(len(logits), -1)
        p = logprobs.detach().exp()
        coefficient = advantage.flatten()[part, None] * torch.where(p < TAU, p, 1.0)
        loss = -(coefficient * logprobs * target[part, 1:]).sum() / denominator
        loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return int(denominator)


def main():
    parser = options(__doc__, warmup=1, runs=5)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=64, help="tokens a prompt")
    parser.add_argument("--new", type=int, default=64, help="tokens sampled a completion")
    parser.add_argument("--rows-at-once", type=int, default=16, help="sequences a forward and backward pass")
    args = parser.parse_args()
    start(args)

    model = new_model(args.shape, args.dtype)
    vocab = model.config.vocab_size
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    phases = {"rollout": [], "reward_advantage": [], "update": [], "total": []}
    for i in range(args.warmup + args.runs):
        prompts = torch.randint(1, vocab, (args.prompts, args.prompt))
        given = completions_given(args.prompts, args.new, vocab)
        t0 = time.perf_counter()
        own = rollout(model, prompts, args.new)
        t1 = time.perf_counter()
        groups = [a + list(b) for a, b in zip(given, own)]
        advantage = advantages(torch.tensor([[reward(c, vocab) for c in group] for group in groups]))
        t2 = time.perf_counter()
        update(model, optimizer, prompts, groups, advantage, args.rows_at_once)
        t3 = time.perf_counter()
        if i >= args.warmup:
            for phase, seconds in zip(phases, (t1 - t0, t2 - t1, t3 - t2, t3 - t0)):
                phases[phase].append(seconds)

    tokens = {"rollout": args.prompts * OWN * args.new, "total": args.prompts * GROUP * (args.prompt + args.new)}
    for phase, seconds in phases.items():
        name = f"gft_step/{args.shape}/p{args.prompts}/{args.dtype}"
        report(name if phase == "total" else f"{name}/{phase}", seconds, tokens=tokens.get(phase))


if __name__ == "__main__":
    main()
