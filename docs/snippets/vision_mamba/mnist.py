# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / "mnist_large.jsonl")}
names = {"vision_mamba": "Vision Mamba", "vmamba": "VMamba", "linear": "a weight for every pixel"}

figure, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
for variant, name in names.items():
    run = runs[variant]
    steps = f"{run['steps']} of {run['planned']} steps"
    print(f"{name:24} {run['final']['accuracy']:.3f}  {run['parameters']:7,} parameters, {steps}")
    steps, _, right = zip(*run["validation"], strict=True)
    axes.plot(steps, right, marker=".", label=name)
axes.set(xlabel="step", ylabel="accuracy on 1,000 held-out digits", ylim=(0.85, 1))
axes.legend(loc="lower right")
plt.show()

# %% check
assert set(runs) == set(names)
