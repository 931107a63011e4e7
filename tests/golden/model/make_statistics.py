"""Makes `statistics/`: log-prob, entropy and full-vocabulary KL of two tiny models, and gradients of a seeded sum of them.

The policy is `qwen2/model`, the reference `statistics/reference`; both are computed in float64. Run after make.py.
"""

import shutil

import torch
from make import CASES, HERE, in_float64, load, new_model, sequences, set_up, write
from transformers import AutoModelForCausalLM

FOLDER = HERE / "statistics"
SEED = 100
TEMPERATURES = {"t1": 1.0, "t0.7": 0.7}


def log_distributions(model, inputs, temperature):
    """[sum of (T_i - 1), V]: the log distribution of each target token, sequences one after the other."""
    logits = [model(ids[None], use_cache=False).logits[0, :-1] for ids in inputs]
    return torch.log_softmax(torch.cat(logits) / temperature, dim=-1)


def statistics(policy, reference, targets):
    p, r = policy.exp(), reference.exp()
    return {
        "logprobs": policy.gather(-1, targets[:, None]).squeeze(-1),
        "entropy": -(p * policy).sum(-1),
        "kl_policy_reference": (p * (policy - reference)).sum(-1),
        "kl_reference_policy": (r * (reference - policy)).sum(-1),
    }


def main():
    set_up()
    shutil.rmtree(FOLDER, ignore_errors=True)
    config = CASES["qwen2"][0]
    new_model(config, SEED).save_pretrained(FOLDER / "reference")
    # A reference far from the policy has a KL of several nats; a mean of the two models is nearer, as in training.
    reference = AutoModelForCausalLM.from_pretrained(FOLDER / "reference", dtype=torch.float32)
    policy = load(HERE / "qwen2/model", torch.float32)
    with torch.no_grad():
        for a, b in zip(reference.parameters(), policy.parameters()):
            a.copy_(0.8 * b + 0.2 * a)
    reference.save_pretrained(FOLDER / "reference")
    reference = in_float64(reference)

    inputs = sequences(config.vocab_size, SEED)
    targets = torch.cat([ids[1:] for ids in inputs])
    generator = torch.Generator().manual_seed(SEED)
    seeds = {k: torch.randn(len(targets), generator=generator).double() for k in ("logprobs", "entropy", "kl")}

    tensors = {f"input_ids.{i}": ids for i, ids in enumerate(inputs)}
    tensors |= {f"seed.{k}": v.float() for k, v in seeds.items()}
    seeds = {k: v.float().double() for k, v in seeds.items()}
    for tag, temperature in TEMPERATURES.items():
        for direction in ("kl_policy_reference", "kl_reference_policy"):
            policy = load(HERE / "qwen2/model", torch.float64)
            with torch.no_grad():
                r = log_distributions(reference, inputs, temperature)
            found = statistics(log_distributions(policy, inputs, temperature), r, targets)
            seeded = seeds["logprobs"] * found["logprobs"] + seeds["entropy"] * found["entropy"]
            (seeded + seeds["kl"] * found[direction]).sum().backward()
            tensors |= {f"{tag}.{k}": v.float() for k, v in found.items()}
            for name, parameter in policy.named_parameters():
                tensors[f"{tag}.{direction}.grad.{name}"] = parameter.grad.float()
        print(tag, {k: round(v.mean().item(), 4) for k, v in found.items()})
    write(
        FOLDER,
        tensors,
        {"policy": "../qwen2/model", "reference": "reference", "temperatures": TEMPERATURES},
    )


if __name__ == "__main__":
    main()
