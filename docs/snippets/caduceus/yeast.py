# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"


def runs(experiment):
    return {row["variant"]: row for row in read_rows(EXPERIMENTS / f"{experiment}.jsonl")}


NAMES = {
    "sharing": "both strands (PS)",
    "post_hoc": "both when answering (Ph)",
    "one": "one strand",
    "linear": "linear",
}

# %% shown
yeast, coding = runs("yeast"), runs("coding")
print("hidden letters of yeast     parameters   nats   right")
for name, run in yeast.items():
    final = run["final"]
    line = f"{run['parameters']:10,}  {final['loss']:.4f}  {final['accuracy']:.3f}"
    print(f"  {NAMES[name]:25} {line}")
print("coding or not               parameters  right    nats  nats on the other strand")
for name, run in coding.items():
    (other,) = run["evaluate"]
    final = run["final"]
    nats = f"{final['loss']:.4f}  {other['loss']:.4f}"
    line = f"{run['parameters']:10,}  {final['accuracy']:.3f}  {nats}"
    print(f"  {NAMES[name]:25} {line}")

fig, axes = plt.subplots(1, 2, figsize=(6.5, 2.7))
for ax, found, key, title in (
    (axes[0], yeast, 1, "hidden letters, nats"),
    (axes[1], coding, 2, "coding or not, accuracy"),
):
    for name, run in found.items():
        steps, found_there = zip(*[(p[0], p[key]) for p in run["validation"]], strict=True)
        ax.plot(steps, found_there, label=NAMES[name])
    ax.set(xlabel="step", title=title)
axes[0].legend(fontsize=8)
fig.tight_layout()
