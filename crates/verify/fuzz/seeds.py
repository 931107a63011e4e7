"""Writes the corpus to start from: one file for each pair, the reference answer and the answer on two lines.

    python3 seeds.py ../../../tests/golden/verify/pairs.jsonl ../../../tests/golden/verify/blind/*.jsonl
"""

import hashlib
import json
import sys
from pathlib import Path

folder = Path(__file__).parent / "corpus" / "verify"
folder.mkdir(parents=True, exist_ok=True)
for path in sys.argv[1:]:
    for line in Path(path).read_text().splitlines():
        row = json.loads(line)
        seed = f"{row['gold']}\n{row['answer']}".encode()
        (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
print(len(list(folder.iterdir())), "seeds in", folder)
