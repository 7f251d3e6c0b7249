# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / "vowels.jsonl")}
fig, ax = plt.subplots(figsize=(6.5, 2.6))
for name, label in (("linear", "linear"), ("mamba", "Mamba"), ("s4d", "S4D")):
    run = runs[name]
    print(f"{label:7} {run['parameters']:6,} parameters  accuracy {run['final']['accuracy']:.3f}")
    steps, _, right = zip(*run["validation"], strict=True)
    ax.plot(steps, right, marker=".", label=label)
ax.set(xlabel="step", ylabel="accuracy", ylim=(0.8, 1))
ax.legend(loc="lower right")
fig.tight_layout()
