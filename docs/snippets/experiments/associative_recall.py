# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
runs = read_rows(EXPERIMENTS / "associative_recall.jsonl")

print("state of a channel   6 pairs   3 pairs   parameters")
fig, ax = plt.subplots(figsize=(6.5, 2.8))
for run in runs:
    n = int(run["variant"].removeprefix("state"))
    few = run["evaluate"][0]["accuracy"]
    print(f"{n:18}   {run['final']['accuracy']:7.3f}   {few:7.3f}   {run['parameters']:10,}")
    steps, _, right = zip(*run["validation"], strict=True)
    ax.plot(steps, right, marker="o", label=f"state of {n}")
ax.axhline(1 / 6, ls=":", lw=1, color="gray")
ax.set(xlabel="step", ylabel="values right", ylim=(0, 1.03))
ax.legend()
fig.tight_layout()

# %% check
assert len(runs) == 4
