"""Makes `optimizer/`: a hundred steps of torch.optim.AdamW on given gradients, and clip_grad_norm_ examples."""

import torch
from make import HERE, write

FOLDER = HERE / "optimizer"
# Small parameters and a small lr keep PyTorch's own float32 rounding (0.999 ** 100 and the like) below the test's 1e-6.
SHAPES = {"a": (7,), "b": (3, 5), "c": (1,)}
STEPS = 100
RUNS = {
    "decay": dict(lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1),
    "no_decay": dict(lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0),
    # gradients as small as eps, so that where eps stands in the formula shows
    "large_eps": dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-2, weight_decay=0.01),
}
CLIPS = {"clipped": 1.0, "untouched": 1000.0}


def gradients(generator):
    """[steps, ...]: random, with a slow drift and scales from 1e-4 to 10 so that both moments matter; some are zero."""
    drift = torch.linspace(-1, 1, STEPS)
    out = {}
    for name, shape in SHAPES.items():
        scale = 10 ** (torch.rand(shape, generator=generator) * 5 - 4)
        g = torch.randn(STEPS, *shape, generator=generator) + drift.reshape(-1, *[1] * len(shape))
        g = g * scale
        g[torch.rand(g.shape, generator=generator) < 0.05] = 0
        out[name] = g
    return out


def run(initial, grads, options, dtype):
    parameters = {n: torch.nn.Parameter(p.to(dtype, copy=True)) for n, p in initial.items()}
    optimizer = torch.optim.AdamW(parameters.values(), **options, amsgrad=False, foreach=False)
    for step in range(STEPS):
        for name, parameter in parameters.items():
            parameter.grad = grads[name][step].to(dtype)
        optimizer.step()
    out = {}
    for name, parameter in parameters.items():
        state = optimizer.state[parameter]
        out |= {f"final.{name}": parameter, f"exp_avg.{name}": state["exp_avg"], f"exp_avg_sq.{name}": state["exp_avg_sq"]}
    return out


def main():
    FOLDER.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(7)
    initial = {n: 0.1 * torch.randn(s, generator=generator) for n, s in SHAPES.items()}
    grads = gradients(generator)
    tensors = {f"initial.{n}": p for n, p in initial.items()}
    tensors |= {f"grads.{n}": g for n, g in grads.items()}
    difference = {}
    for tag, options in RUNS.items():
        exact = run(initial, grads, options, torch.float64)
        plain = run(initial, grads, options, torch.float32)
        tensors |= {f"{tag}.{k}": v.float() for k, v in exact.items()}
        difference[tag] = max((exact[k] - plain[k]).abs().max().item() for k in exact if k.startswith("final"))

    norms = {}
    for tag, max_norm in CLIPS.items():
        parameters = [torch.nn.Parameter(p.double()) for p in initial.values()]
        for name, parameter in zip(initial, parameters):
            parameter.grad = grads[name][3].double()
        norms[tag] = torch.nn.utils.clip_grad_norm_(parameters, max_norm).item()
        for name, parameter in zip(initial, parameters):
            tensors[f"clip.{tag}.{name}"] = parameter.grad.float()
    write(
        FOLDER,
        tensors,
        {
            "steps": STEPS,
            "runs": RUNS,
            "pytorch_float32_against_float64_final_max_abs": difference,
            "clip": {"grads_of_step": 3, "max_norm": CLIPS, "total_norm": norms},
        },
    )
    print(difference, norms)


if __name__ == "__main__":
    main()
