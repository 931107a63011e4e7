"""Converts GSM8K rows into every layout and format and loads each file with datasets.

    python load_converted.py path/to/gft        (needs datasets, and zstandard for .zst)

Prints the features of verl's file and the number of files; stops at the first that does not load as it should.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import datasets

LAYOUTS = "group messages prompt-completion verl alpaca sharegpt question-answer problem-solution".split()
FORMATS = "jsonl jsonl.gz jsonl.zst json parquet".split()

datasets.disable_caching()
datasets.disable_progress_bars()
gft = sys.argv[1]
rows = Path(__file__).parent / "rows" / "gsm8k-train-20.jsonl"
source = datasets.load_dataset("json", data_files=str(rows), split="train")

with tempfile.TemporaryDirectory() as folder:
    for layout in LAYOUTS:
        for form in FORMATS:
            path = f"{folder}/{layout}.{form}"
            subprocess.run([gft, "data", "convert", rows, "-o", path, "--to", layout, "-q"], check=True, stdout=subprocess.DEVNULL)
            kind = "parquet" if form == "parquet" else "json"
            loaded = datasets.load_dataset(kind, data_files=path, split="train", cache_dir=f"{folder}/cache")
            assert len(loaded) == len(source), path
            for row, there in zip(source, loaded):
                text = str(there)
                assert repr(row["question"])[1:-1] in text and row["answer"][:20].split("\n")[0] in text, (path, there)
    print(datasets.load_dataset("parquet", data_files=f"{folder}/verl.parquet", split="train", cache_dir=f"{folder}/cache").features)
print(len(LAYOUTS) * len(FORMATS), "files")
