# %% setup
import contextlib
import io
import json
from pathlib import Path

from ssm_ref.__main__ import main

# %% shown
Path("parity.toml").write_text("""
steps = 150
batch_size = 32
validate_every = 50

[data]
name = "parity"
length = 12

[model]
name = "pattern"
pattern = "L"       # one LSTM; "M" is Mamba, "3" Mamba-3
d_model = 16

[optimizer]
lr = 2e-2
warmup = 20
weight_decay = 0.0

[[evaluate]]
length = 100        # eight times longer than in training
""")

with contextlib.redirect_stderr(io.StringIO()):  # progress, speed and time left
    main(["train", "parity.toml", "--out", "run"])

for row in map(json.loads, Path("run/metrics.jsonl").read_text().splitlines()):
    if "validation_loss" in row:
        print(f"step {row['step']:3}: accuracy {row['validation_accuracy']:.3f}")
result = json.loads(Path("run/result.json").read_text())
print("at length 100:", result["evaluate"][0]["accuracy"])
print(sorted(path.name for path in Path("run").iterdir()))

# %% check
assert result["final"]["accuracy"] > 0.99
