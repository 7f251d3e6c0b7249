# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
rows = [
    row
    for name in ("spoken_digits", "spoken_language")
    for row in read_rows(EXPERIMENTS / f"{name}.jsonl")
]
fig, ax = plt.subplots(figsize=(6.5, 2.8))
for row in rows:
    name = f"{row['experiment']}, {row['variant']}".replace("_", " ")
    print(f"{name:34} {row['parameters']:8,} parameters  accuracy {row['final']['accuracy']:.3f}")
    style = ":" if "linear" in row["variant"] else "-"
    steps, _, right = zip(*row["validation"], strict=True)
    ax.plot(steps, right, style, marker=".", label=name)
ax.set(xlabel="step", ylabel="accuracy", ylim=(0, 1.02))
ax.legend(fontsize=7)
fig.tight_layout()
