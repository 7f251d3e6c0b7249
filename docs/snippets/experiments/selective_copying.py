# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / "selective_copying.jsonl")}
names = {"s4d": "S4D", "mamba": "Mamba"}

print("whole rows right at length      64    128    256   parameters")
for variant, name in names.items():
    run = runs[variant]
    exact = [run["final"]["exact"], *(entry["exact"] for entry in run["evaluate"])]
    print(f"{name:27}" + "".join(f"{x:7.3f}" for x in exact) + f"   {run['parameters']:10,}")

fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8))
for variant, name in names.items():
    run = runs[variant]
    left.semilogy(*zip(*run["curve"], strict=True), label=name)
    exact = [run["final"]["exact"], *(entry["exact"] for entry in run["evaluate"])]
    right.plot([64, 128, 256], exact, marker="o", label=name)
left.set(xlabel="step", ylabel="loss")
right.set(xlabel="length (trained at 64)", ylabel="whole rows right", ylim=(-0.03, 1.03))
right.legend()
fig.tight_layout()

# %% check
assert set(runs) == set(names)
