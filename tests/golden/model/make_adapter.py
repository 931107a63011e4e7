"""Makes the golden fixtures of LoRA: adapters as PEFT writes them, on the models beside, and what PEFT says about them.

    python make_adapter.py        after make.py

Each case is `adapter/NAME/`: `adapter/` as `PeftModel.save_pretrained` writes it, `expected.safetensors` (log-probs, every
adapter's gradient, ten AdamW losses, log-probs of the merged model, all computed in float64 from the files as they lie on
disk). `base_model_name_or_path` is set to the model's folder relative to the adapter, so that the fixture works anywhere.

    python make_adapter.py --check DIR [DIR ...]

loads adapter folders that another program wrote, and prints the loss of each on the inputs of its case as JSON: PEFT must
find every tensor in its place (`load_result` lists none missing, none unexpected).
"""

import json
import shutil
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import save_file

from make import ADAMW, ADAMW_STEPS, HERE, forward, load, sequences, set_up

# name: (base, configuration). Each says something that another does not: biases, tied heads, norms of heads, bases of 16
# bits, a part of the modules, a pattern, ranks and scalings of single modules, layers, rsLoRA.
CASES = {
    "all_linear": ("qwen2", dict(r=4, lora_alpha=8, target_modules="all-linear")),
    "two_modules": ("qwen3", dict(r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj"])),
    "pattern": (
        "llama_bf16",
        dict(
            r=2,
            lora_alpha=6,
            target_modules=r".*\.(k_proj|o_proj|up_proj|down_proj|gate_proj)",
            rank_pattern={"up_proj": 5, r"layers\.1\.mlp\.down_proj": 3},
            alpha_pattern={"gate_proj": 1},
        ),
    ),
    "one_layer": (
        "qwen2_f16",
        dict(r=8, lora_alpha=16, target_modules=["k_proj", "mlp.down_proj", "o_proj"], layers_to_transform=[1]),
    ),
}


def adapted(base, folder):
    """The adapter on its base in float64, and what loading said."""
    model = load(HERE / base / "model", torch.float64)
    model = PeftModel.from_pretrained(model, folder, is_trainable=True, autocast_adapter_dtype=False)
    return model.double()


def adapters(model):
    names = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            names[name.replace(".default.", ".")] = parameter
    return names


def losses(base, folder, inputs):
    model = adapted(base, folder)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, **ADAMW, foreach=False)
    found = []
    for step in range(ADAMW_STEPS + 1):
        optimizer.zero_grad()
        loss = forward(model, inputs)[2]
        loss.backward()
        if step < ADAMW_STEPS:
            optimizer.step()
        found.append(loss.item())
    return torch.tensor(found, dtype=torch.float64)


def make_case(seed, name, base, config):
    folder = HERE / "adapter" / name
    shutil.rmtree(folder, ignore_errors=True)
    model = get_peft_model(load(HERE / base / "model", torch.float32), LoraConfig(task_type="CAUSAL_LM", **config))
    generator = torch.Generator().manual_seed(3000 + seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:  # B too: a fresh adapter would do nothing
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder / "adapter")
    (folder / "adapter/README.md").unlink(missing_ok=True)
    path = folder / "adapter/adapter_config.json"
    written = json.loads(path.read_text())
    written["base_model_name_or_path"] = f"../../../{base}/model"
    path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")

    vocabulary = model.config.vocab_size
    inputs = sequences(vocabulary, 100 + seed)
    model = adapted(base, folder / "adapter")
    _, logprobs, loss = forward(model, inputs)
    loss.backward()
    with model.disable_adapter(), torch.no_grad():
        plain = forward(model, inputs)[1]
    tensors = {"loss": loss, "adamw.losses": losses(base, folder / "adapter", inputs)}
    for i, ids in enumerate(inputs):
        tensors[f"input_ids.{i}"] = ids
        tensors[f"logprobs.{i}"] = logprobs[i].float()
        tensors[f"base_logprobs.{i}"] = plain[i].float()
    for parameter_name, parameter in adapters(model).items():
        assert parameter.grad.norm() > 1e-5, f"{name}: no gradient reaches {parameter_name}"
        tensors[f"grad.{parameter_name}"] = parameter.grad.float()
    count = len(adapters(model))
    with torch.no_grad():
        merged = model.merge_and_unload()
        for i, values in enumerate(forward(merged, inputs)[1]):
            tensors[f"merged_logprobs.{i}"] = values.float()
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")
    moved = (torch.cat(plain) - torch.cat(logprobs)).abs().max().item()
    print(f"{name}: loss {loss.item():.4f}, {count} tensors, moves log-probs by {moved:.2f}")


def check(folders):
    """Loads adapters that the engine wrote: `CASE=DIR`."""
    found = {}
    for argument in folders:
        name, folder = argument.split("=", 1)
        seed, base = list(CASES).index(name), CASES[name][0]
        with safe_open(f"{folder}/adapter_model.safetensors", "pt") as file:
            names = set(file.keys())
        model = load(HERE / base / "model", torch.float64)
        model = PeftModel.from_pretrained(model, folder, is_trainable=True, autocast_adapter_dtype=False).double()
        assert names == set(adapters(model)), f"{name}: {names ^ set(adapters(model))}"
        with torch.no_grad():
            loss = forward(model, sequences(model.config.vocab_size, 100 + seed))[2]
        found[name] = loss.item()
    print(json.dumps(found))


def main():
    set_up()
    if sys.argv[1:2] == ["--check"]:
        return check(sys.argv[2:])
    for seed, (name, (base, config)) in enumerate(CASES.items()):
        make_case(seed, name, base, config)


if __name__ == "__main__":
    main()
