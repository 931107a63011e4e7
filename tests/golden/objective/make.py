"""Makes losses.json and schedules.json: the oracle of crates/objective.

Every loss is written here as its paper writes it, with `.detach()` where the paper stops the gradient, in
float64, and differentiated by autograd. Nothing is shared with the Rust code but the names of the cases.

    python make.py          # needs torch and transformers; writes next to itself
"""

import json
import math
import pathlib

import torch
import transformers

HERE = pathlib.Path(__file__).parent
F64 = torch.float64
MAX_LENGTH = 11

# Three groups of four rows: contrast, more contrast with a reward between, none.
SOURCES = ["expert", "teacher", "policy", "policy"] * 3
REWARDS = [[1.0, 0.0, 1.0, 0.0], [1.0, 0.25, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
LENGTHS = [6, 3, 5, 1, 6, 4, 2, 6, 3, 5, 6, 4]
ROWS, WIDTH = len(LENGTHS), max(LENGTHS)
DEMONSTRATION = torch.tensor([source != "policy" for source in SOURCES])


def inputs():
    """Token statistics as float32 numbers, so that both sides read the same values."""
    generator = torch.Generator().manual_seed(20260)
    normal = lambda: torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float32)
    logprobs = -(normal().exp())
    logprobs[0, 0], logprobs[0, 1], logprobs[1, 0], logprobs[2, 1] = 0.0, -20.0, -1e-4, -12.5
    old = (logprobs + 0.35 * normal()).clamp(max=0.0)
    old[4, 0] = logprobs[4, 0] - 1.5  # a ratio of 4.5
    old[3, 0] = logprobs[3, 0] - 2.5 if logprobs[3, 0] > -20 else old[3, 0]  # a ratio of 12.2
    reference = (logprobs + 0.8 * normal()).clamp(max=0.0)
    reference[7, 1] = min(logprobs[7, 1].item() + 4.0, 0.0)
    entropy = normal().abs() * 0.9
    mask = torch.zeros(ROWS, WIDTH, dtype=torch.bool)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = True
    mask[4, 2] = False  # a hole, as a tool's output leaves one
    return logprobs, old, reference, entropy, mask


LOGPROBS, OLD, REFERENCE, ENTROPY, MASK = inputs()


# Advantages ---------------------------------------------------------------------------------------------------


def advantages(baseline="mixed", scale="std", ddof=1, eps=1e-6):
    """Advantages of the three groups, [ROWS]; groups without contrast are 0 by hand, not by luck."""
    everything = torch.tensor(REWARDS, dtype=F64).flatten()
    out = []
    for rewards in torch.tensor(REWARDS, dtype=F64):
        basis = rewards[2:] if baseline == "on_policy" else rewards
        if baseline == "leave_one_out":
            others = (rewards.sum() - rewards) / (len(rewards) - 1)
            difference = rewards - others
        else:
            difference = rewards - basis.mean()
        if scale == "std" and basis.std(correction=ddof) > 0:
            difference = difference / (basis.std(correction=ddof) + eps)
        if scale == "batch_std":
            difference = difference / (everything.std(correction=ddof) + eps)
        out.append(difference)
    return torch.cat(out)


# Token losses: (log p, A [ROWS, 1]) -> [ROWS, WIDTH] ------------------------------------------------------------


def ratio(logp):
    return torch.exp(torch.clamp(logp - OLD.to(F64), -20, 20))


def dcr(tau, inclusive=False):
    def loss(logp, a):
        p = logp.exp()
        below = p <= tau if inclusive else p < tau
        return -a * torch.where(below, p, torch.ones_like(p)).detach() * logp

    return loss


def smooth_dcr(tau):
    return lambda logp, a: -a * torch.clamp(logp.exp() / tau, max=1.0).detach() * logp


def plain(logp, a):
    return -a * logp


def dft(logp, a):
    return -a * logp.exp().detach() * logp


def chord(logp, a):
    return -a * (logp.exp() * (1 - logp.exp())).detach() * logp


def luffy(gamma):
    return lambda logp, a: -a * (logp.exp() / (logp.exp() + gamma))


def idft(beta, low, high, lam):
    def loss(logp, a):
        gamma = torch.clamp(torch.exp(-(logp + ENTROPY.to(F64)) / beta), low, high)
        gamma = 1 + lam * (gamma - 1)
        return -a * (logp.exp() ** gamma).detach() * logp

    return loss


def eaft(alpha, scale):
    return lambda logp, a: -a * ((ENTROPY.to(F64) / scale) ** alpha) * logp


def unclipped(logp, a):
    return -a * ratio(logp)


def clip(low, high, dual=None):
    def loss(logp, a):
        r = ratio(logp)
        objective = torch.min(r * a, torch.clamp(r, 1 - low, 1 + high) * a)
        if dual is not None:
            objective = torch.where(a < 0, torch.max(objective, dual * a), objective)
        return -objective

    return loss


def psft(high):
    return lambda logp, a: -torch.min(ratio(logp) * a, torch.clamp(ratio(logp), max=1 + high) * a)


def cispo(bound):
    return lambda logp, a: -a * torch.clamp(ratio(logp), max=bound).detach() * logp


def kl(estimator, logp):
    d = REFERENCE.to(F64) - logp
    if estimator == "k1":
        return -d
    if estimator == "k2":
        return 0.5 * d**2
    if estimator == "k3":
        return d.exp() - d - 1
    if estimator == "low_var_kl":
        d = torch.clamp(d, -20, 20)
        return torch.clamp(d.exp() - d - 1, -10, 10)
    if estimator == "k3+":
        value, pull = d.exp() - d - 1, 0.5 * d**2
        return pull - pull.detach() + value.detach()
    raise ValueError(estimator)


# Denominators -------------------------------------------------------------------------------------------------


def aggregate(losses, normaliser, counted):
    """Sum of the token losses over the denominator of `normaliser`, which counts the rows in `counted`."""
    mask = MASK & counted[:, None]
    losses = torch.where(mask, losses, 0.0)
    rows = mask.any(dim=1).sum()
    per_row = losses.sum(dim=1)
    if normaliser == "token-mean":
        return losses.sum() / mask.sum()
    if normaliser == "seq-mean-token-mean":
        return (per_row / mask.sum(dim=1).clamp(min=1)).sum() / rows
    if normaliser == "seq-mean-token-sum":
        return per_row.sum() / rows
    if normaliser == "fixed-length":
        return per_row.sum() / (rows * MAX_LENGTH)
    if normaliser == "seq-mean-token-sum-norm":
        return per_row.sum() / MAX_LENGTH
    raise ValueError(normaliser)


NORMALISERS = [
    "token-mean",
    "seq-mean-token-mean",
    "seq-mean-token-sum",
    "fixed-length",
    "seq-mean-token-sum-norm",
]
EVERY_ROW = torch.ones(ROWS, dtype=torch.bool)


def differentiate(total):
    """Loss and gradient with respect to the log-probabilities of `total(log p)`."""
    logp = LOGPROBS.to(F64).requires_grad_(True)
    loss = total(logp)
    (gradient,) = torch.autograd.grad(loss, logp)
    assert torch.isfinite(loss) and torch.isfinite(gradient).all()
    rows = [[value.item() for value in row[mask]] for row, mask in zip(gradient, MASK)]
    return {"loss": loss.item(), "gradient": rows}


def rule_case(rule, token_loss, normaliser="token-mean", constant=None, kl_estimator=None):
    """One rule on all rows of all groups."""
    a = advantages() if constant is None else torch.full((ROWS,), constant, dtype=F64)

    def total(logp):
        loss = aggregate(token_loss(logp, a[:, None]), normaliser, EVERY_ROW)
        if kl_estimator is not None:
            own = torch.where(DEMONSTRATION[:, None], 0.0, kl(kl_estimator, logp))
            loss = loss + 0.3 * aggregate(own, normaliser, EVERY_ROW)
        return loss

    case = {"rule": rule, "normaliser": normaliser, "constant": constant, "kl": kl_estimator}
    return case | differentiate(total)


def rule_cases():
    for tau in [0.0, 0.1, 0.5, 0.7, 1.0]:
        for normaliser in NORMALISERS:
            yield rule_case({"name": "dcr", "tau": tau}, dcr(tau), normaliser)
    for normaliser in NORMALISERS:
        yield rule_case({"name": "ratio-clip", "low": 0.2, "high": 0.2, "dual": None}, clip(0.2, 0.2), normaliser)
    for dual in [None, 3.0, 10.0]:
        yield rule_case({"name": "ratio-clip", "low": 0.2, "high": 0.28, "dual": dual}, clip(0.2, 0.28, dual))
    yield rule_case({"name": "plain"}, plain)
    yield rule_case({"name": "plain"}, plain, constant=1.0)
    yield rule_case({"name": "dft"}, dft)
    yield rule_case({"name": "dft"}, dft, constant=1.0)
    yield rule_case({"name": "smooth-dcr", "tau": 0.5}, smooth_dcr(0.5))
    yield rule_case({"name": "ratio"}, unclipped)
    yield rule_case({"name": "psft", "high": 0.28}, psft(0.28))
    yield rule_case({"name": "psft", "high": 0.28}, psft(0.28), constant=1.0)
    yield rule_case({"name": "cispo", "bound": 2.0}, cispo(2.0))
    yield rule_case({"name": "luffy", "gamma": 0.1}, luffy(0.1))
    yield rule_case({"name": "chord"}, chord)
    for lam in [0.4, 1.0]:
        yield rule_case({"name": "idft", "lambda": lam}, idft(1.0, 0.1, 2.0, lam))
    for alpha in [0.0, 1.0, 2.0]:
        yield rule_case({"name": "eaft", "alpha": alpha}, eaft(alpha, 3.0))
    for estimator in ["k1", "k2", "k3", "low_var_kl", "k3+"]:
        rule = {"name": "ratio-clip", "low": 0.2, "high": 0.2, "dual": None}
        yield rule_case(rule, clip(0.2, 0.2), "seq-mean-token-mean", kl_estimator=estimator)


# Whole methods --------------------------------------------------------------------------------------------------


def method_case(name, total):
    return {"method": name} | differentiate(total)


def grouped(sources, token_loss, normaliser, a, counted=None):
    """A method that treats the rows in `sources` alike."""
    counted = sources if counted is None else counted
    return lambda logp: aggregate(
        torch.where(sources[:, None], token_loss(logp, a[:, None]), 0.0), normaliser, counted
    )


def own_advantages(scale="std"):
    """Advantages of the own rows of each group among themselves; demonstrations get 0."""
    out = torch.zeros(ROWS, dtype=F64)
    for group in range(3):
        rewards = torch.tensor(REWARDS[group][2:], dtype=F64)
        if rewards.max() == rewards.min():
            continue
        difference = rewards - rewards.mean()
        out[4 * group + 2 : 4 * group + 4] = (
            difference / (rewards.std(correction=1) + 1e-6) if scale == "std" else difference
        )
    return out


def method_cases():
    one = torch.ones(ROWS, dtype=F64)
    own = ~DEMONSTRATION
    expert = torch.tensor([source == "expert" for source in SOURCES])
    group = advantages()
    yield method_case("sft", grouped(expert, plain, "token-mean", one))
    yield method_case("sft-mix", grouped(DEMONSTRATION, plain, "token-mean", one))
    yield method_case("dft", grouped(expert, dft, "token-mean", one))
    yield method_case("psft", grouped(expert, psft(0.28), "token-mean", one))
    yield method_case("gft-paper", grouped(EVERY_ROW, dcr(0.7), "token-mean", group))
    yield method_case("gft-reference", grouped(EVERY_ROW, dcr(0.1, True), "token-mean", group))

    stable = lambda logp, a: torch.where(own[:, None], clip(0.2, 0.28)(logp, a), dcr(0.7)(logp, a))
    positive = group.clamp(min=0.0)
    yield method_case("gft-stable", grouped(EVERY_ROW, stable, "token-mean", positive, group > 0))

    alone = own_advantages()
    yield method_case("grpo", grouped(own, clip(0.2, 0.2), "seq-mean-token-mean", alone))
    yield method_case("dr-grpo", grouped(own, clip(0.2, 0.2), "fixed-length", own_advantages("none")))
    kept = own & torch.tensor([True] * 4 + [False] * 8)  # only the first group has contrast among own rows
    yield method_case("dapo", grouped(kept, clip(0.2, 0.28, 10.0), "token-mean", alone))

    right = torch.tensor(REWARDS, dtype=F64).flatten() > 0.5
    for name, plus, minus in [("psr", 1.0, 0.0), ("nsr", 0.0, -1.0), ("w-reinforce", 0.1, -1.0)]:
        a = torch.where(right, torch.tensor(plus, dtype=F64), torch.tensor(minus, dtype=F64))
        yield method_case(name, grouped(own & (a != 0), clip(0.2, 0.2), "token-mean", a))

    mixed = lambda logp, a: torch.where(own[:, None], unclipped(logp, a), luffy(0.1)(logp, a))
    yield method_case(
        "luffy", grouped(EVERY_ROW, mixed, "seq-mean-token-sum-norm", advantages(scale="none"))
    )

    for name, mu, rule in [("chord-mu", 0.9, plain), ("chord-phi", 0.1, chord)]:
        on = grouped(own, clip(0.2, 0.2), "token-mean", alone)
        off = grouped(expert, rule, "token-mean", one)
        yield method_case(name, lambda logp: (1 - mu) * on(logp) + mu * off(logp))


def advantage_cases():
    for baseline in ["mixed", "on_policy", "leave_one_out"]:
        for scale, ddof, eps in [("std", 1, 1e-6), ("std", 0, 1e-4), ("batch_std", 1, 1e-4), ("none", 1, 1e-6)]:
            if baseline == "leave_one_out" and scale == "std":
                continue  # RLOO does not scale
            a = advantages(baseline, scale, ddof, eps)
            yield {"baseline": baseline, "scale": scale, "ddof": ddof, "eps": eps, "advantages": a.tolist()}


# Schedules ------------------------------------------------------------------------------------------------------


def schedule_cases():
    peak = 3e-4
    for name, kwargs in [
        ("constant", {}),
        ("constant_with_warmup", {}),
        ("linear", {}),
        ("cosine", {}),
        ("cosine", {"num_cycles": 1.5}),
        ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
        ("cosine_with_min_lr", {"min_lr": 3e-5, "num_cycles": 1.0}),
    ]:
        for warmup, total in [(0, 20), (7, 40), (40, 40)]:
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
            scheduler = transformers.get_scheduler(
                name, optimizer, num_warmup_steps=warmup, num_training_steps=total, scheduler_specific_kwargs=kwargs
            )
            rates = []
            for _ in range(total + 3):
                rates.append(scheduler.get_last_lr()[0])
                optimizer.step()
                scheduler.step()
            yield {"name": name, "kwargs": kwargs, "warmup": warmup, "total": total, "rates": rates}
    for ratio, total in [(0.1, 101), (0.03, 10), (0.5, 7)]:
        arguments = transformers.TrainingArguments(output_dir="unused", warmup_steps=ratio)
        yield {"ratio": ratio, "total": total, "warmup": arguments.get_warmup_steps(total)}


def write(name, content):
    """One case per line: small, and a change shows as the cases it touches."""
    content = {"made_with": {"torch": torch.__version__, "transformers": transformers.__version__}} | content
    lines = []
    for key, value in content.items():
        if isinstance(value, list):
            body = ",\n  ".join(json.dumps(item, allow_nan=False) for item in value)
            lines.append(f'"{key}": [\n  {body}\n]')
        else:
            lines.append(f'"{key}": {json.dumps(value, allow_nan=False)}')
    (HERE / name).write_text("{\n" + ",\n".join(lines) + "\n}\n")


def ragged(values):
    """The values of the tokens up to each row's length; the hole in the mask stays in."""
    return [[value.item() for value in row[:length]] for row, length in zip(values, LENGTHS)]


def main():
    assert math.isclose(advantages()[0].item(), 0.5 / (1 / 3) ** 0.5, rel_tol=1e-5)
    tokens = {
        "sources": SOURCES,
        "rewards": REWARDS,
        "max_length": MAX_LENGTH,
        "logprobs": ragged(LOGPROBS),
        "old_logprobs": ragged(OLD),
        "ref_logprobs": ragged(REFERENCE),
        "entropy": ragged(ENTROPY),
        "mask": ragged(MASK),
    }
    cases = {"advantages": list(advantage_cases()), "rules": list(rule_cases()), "methods": list(method_cases())}
    write("losses.json", {"tokens": tokens} | cases)
    write("schedules.json", {"peak": 3e-4, "schedules": list(schedule_cases())})


if __name__ == "__main__":
    main()
