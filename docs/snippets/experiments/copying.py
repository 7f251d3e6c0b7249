# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / "copying.jsonl")}
names = {"attention": "attention (RoPE)", "mamba2": "Mamba-2"}

print("whole strings right at length     5     10     15   parameters")
fig, ax = plt.subplots(figsize=(6.5, 2.8))
for variant, name in names.items():
    run = runs[variant]
    exact = [entry["exact"] for entry in run["evaluate"]]
    print(f"{name:27}" + "".join(f"{x:7.3f}" for x in exact) + f"   {run['parameters']:10,}")
    ax.plot(*zip(*((step, right) for step, _, right in run["validation"]), strict=True), label=name)
ax.set(xlabel="step (32 fresh strings each)", ylabel="letters right", ylim=(0, 1.03))
ax.legend()
fig.tight_layout()

# %% check
assert set(runs) == set(names)
