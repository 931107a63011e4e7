"""Checks the CUDA device on a card and times it beside PyTorch on the same card, in one call; builds nothing.

    python bench/gpu/run.py --gft target/release/gft --python /opt/venv/bin/python          # 10 minutes on an H200
    python bench/gpu/run.py --gft target/release/gft --only checks

gft needs NVRTC and cuBLASLt beside the driver: with `--python` those of its packages, else `pip install nvidia-cuda-nvrtc
nvidia-cublas` (for a driver of CUDA 13; `-cu12` behind each name for one of CUDA 12) in the environment that is active.

First what must hold, then figures. A check that fails ends the script with code 1 after all have run: times of a device
that computes something else are worth nothing. `--python` needs torch and transformers with CUDA; without it PyTorch's
columns stay empty. Memory is the card's, as nvidia-smi counts it while a command runs, less what was used before.
"""

import argparse
import json
import os
import shlex
import subprocess
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent.parent / "tests/golden/model"
CASES = ["llama3", "llama_bias", "mistral", "qwen2", "qwen3", "qwen3_sliding", "llama_bf16", "qwen2_f16"]
# Dense bf16 operations per second, from NVIDIA's data sheets.
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
# Two devices, each within 1e-5 of f64 (DESIGN T9); bf16 as in crates/cuda/tests/emulated/bf16_policies.rs.
F32, BF16 = 2e-5, 0.15


def without_graphs():
    return os.environ | {"GFT_CUDA_GRAPHS": "0"}


def command(args, *words, env=None):
    done = subprocess.run([args.gft, *words], capture_output=True, text=True, env=env)
    if done.returncode != 0:
        raise SystemExit(f"gft {shlex.join(words)}: code {done.returncode}\n{done.stderr}")
    return done.stdout


def smi(query):
    out = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", "--id=0"],
                         capture_output=True, text=True, check=True)  # fmt: skip
    return [field.strip() for field in out.stdout.strip().split(",")]


def rows_of(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def logprobs(args, case, *device):
    """Log-probabilities of fixed tokens under a fixture's model."""
    vocab = json.loads((GOLDEN / case / "model/config.json").read_text())["vocab_size"]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for row in range(4):
            ids = [(7 * i * i + 31 * row + i) % vocab for i in range(20 + 25 * row)]
            file.write(json.dumps({"input_ids": ids}) + "\n")
        file.flush()
        out = command(args, "logprobs", "--quiet", "--model", str(GOLDEN / case / "model"), file.name, *device)
    return [value for row in rows_of(out) for value in row["logprobs"] if value is not None]


def completions(args, case, batch, *device, env=None):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for row in range(8):
            file.write(json.dumps({"input_ids": [1 + (5 * i + row) % 60 for i in range(1 + 9 * row)]}) + "\n")
        file.flush()
        return command(
            args, "generate", "--quiet", "--model", str(GOLDEN / case / "model"), file.name, "--batch", str(batch),
            "--max-new-tokens", "40", "--temperature", "0.9", "-n", "2", *device, env=env,
        )  # fmt: skip


def trained(args, folder, name):
    """The weights' bytes after a few steps of GFT on the demo's world."""
    out = folder / name
    command(args, "train", str(folder / "demo/gft.toml"), "--quiet", "--device", "cuda", "--max-steps", "4",
            "--model-name-or-path", str(folder / "demo/base"), "--dataset-name", str(folder / "demo/data/train.jsonl"),
            "--output-dir", str(out))  # fmt: skip
    return (out / "model.safetensors").read_bytes()


def checks(args):
    """Yields (what, whether it holds, what was found)."""
    for case in CASES:
        cpu = logprobs(args, case, "--device", "cpu")
        for precision, allowed in (("f32", F32), ("bf16", BF16)):
            card = logprobs(args, case, "--device", "cuda", "--precision", precision)
            off = max(abs(a - b) for a, b in zip(card, cpu, strict=True))
            yield f"log-probabilities of {case} in {precision}", off <= allowed, f"off by {off:.1e}"
    for case in ("llama3", "qwen3_sliding"):
        for precision in ("f32", "bf16"):
            device = ("--device", "cuda", "--precision", precision)
            same = completions(args, case, 16, *device) == completions(args, case, 1, *device)
            yield f"completions of {case} in {precision} alone and among 16", same, "bit for bit" if same else "differ"
            same = completions(args, case, 16, *device) == completions(args, case, 16, *device, env=without_graphs())
            yield f"completions of {case} in {precision} without graphs", same, "bit for bit" if same else "differ"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        command(args, "init", "demo", str(folder / "demo"))
        same = trained(args, folder, "a") == trained(args, folder, "b")
        yield "four GFT steps made twice", same, "bit for bit" if same else "differ"


class Watching:
    """The most memory of the card that is used meanwhile, in bytes."""

    def __enter__(self):
        self.before = self.most = float(smi("memory.used")[0])
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.stop.wait(0.1):
            self.most = max(self.most, float(smi("memory.used")[0]))

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.bytes = (self.most - self.before) * 2**20


def measured(words, env=None):
    """The JSON lines of a command, each with the card's memory."""
    with Watching() as watching:
        done = subprocess.run(words, capture_output=True, text=True, env=env)
    if done.returncode != 0:
        return [], f"{shlex.join(map(str, words))}: code {done.returncode}\n{done.stderr[-2000:]}"
    return [row | {"card_bytes": watching.bytes} for row in rows_of(done.stdout)], None


def figures(args):
    size = [] if not args.quick else ["--runs", "2"]
    bench = [args.gft, "bench", "--quiet", "--json", "--device", "cuda", "--preset", args.preset, *size]
    theirs = [args.python, str(HERE / "torch_side.py"), "--shape", args.preset] if args.python else None
    peak = next((value for name, value in PEAK.items() if name in smi("name")[0]), None)

    def say(name, row, error, extra=""):
        if error:
            print(f"{name:<44} failed: {error}")
            return
        text = f"{name:<44} {row['median_s'] * 1e3:>10.1f} ms"
        if row.get("tokens_per_s"):
            text += f" {row['tokens_per_s']:>10.0f} tokens/s"
        print(f"{text} {row['card_bytes'] / 2**30:>7.1f} GiB {extra}", flush=True)

    # A training step of 16k packed tokens.
    rows, error = measured([*bench, "train", "--batch", "16", "--seq", "1024"])
    ours = rows[-1] if rows else None
    utilised = f"{ours['gflops'] * 1e9 / peak:.1%} of the peak" if ours and peak else ""
    say("train 16x1024, gft bf16", ours, error, utilised)
    for how in ("autocast", "bf16"):
        if theirs:
            rows, error = measured([*theirs, "step", "--batch", "16", "--seq", "1024", "--how", how])
            ratio = f"gft/PyTorch {ours['tokens_per_s'] / rows[-1]['tokens_per_s']:.2f}" if rows and ours else ""
            say(f"train 16x1024, PyTorch {how}", rows[-1] if rows else None, error, ratio)
    # A group as a tree and as sequences.
    rows, error = measured(
        [*bench, "group", "--prompt", "1024", "--response", "1024", "--responses", "8", "--recompute"]
    )
    for row in rows:
        say(f"{row['name']}", row, None)
    if len(rows) == 2:
        print(f"{'tree / separate':<44} {rows[0]['median_s'] / rows[1]['median_s']:>10.2f}")
    elif error:
        say("group", None, error)
    # Decoding.
    decode = [*bench, "decode", "--decode-batch", "256", "--decode-prompt", "64", "--new-tokens", "256"]
    rows, error = measured(decode, env=without_graphs())
    say("decode 256x(64+256), gft bf16, no graphs", rows[-1] if rows else None, error)
    rows, error = measured(decode)
    ours = rows[-1] if rows else None
    say("decode 256x(64+256), gft bf16", ours, error)
    if theirs:
        rows, error = measured([*theirs, "decode", "--batch", "256", "--prompt", "64", "--new", "256"])
        ratio = f"gft/PyTorch {ours['tokens_per_s'] / rows[-1]['tokens_per_s']:.2f}" if rows and ours else ""
        say("decode 256x(64+256), transformers", rows[-1] if rows else None, error, ratio)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gft", default="target/release/gft")
    parser.add_argument("--python", help="with torch and transformers; PyTorch is left out without it")
    parser.add_argument("--preset", default="qwen1.5b")
    parser.add_argument("--only", choices=("checks", "figures"))
    parser.add_argument("--quick", action="store_true", help="two runs of each figure")
    args = parser.parse_args()
    args.gft = str(Path(args.gft).resolve())
    if args.python:
        # Where gft looks for NVRTC and cuBLASLt.
        asked = [args.python, "-c", "import sys; print(sys.prefix)"]
        prefix = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        os.environ["VIRTUAL_ENV"] = prefix

    name, driver, memory = smi("name,driver_version,memory.total")
    print(f"{name}, {float(memory) / 1024:.0f} GiB, driver {driver}, {time.strftime('%Y-%m-%d')}")
    print(command(args, "--version").strip())
    failed = 0
    if args.only != "figures":
        for what, holds, found in checks(args):
            failed += not holds
            print(f"{'ok' if holds else 'FAILED':<7} {what}: {found}", flush=True)
    if args.only != "checks":
        figures(args)
    if failed:
        raise SystemExit(f"{failed} checks failed")


if __name__ == "__main__":
    main()
