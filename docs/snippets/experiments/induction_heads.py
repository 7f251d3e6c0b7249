# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / "induction_heads.jsonl")}
names = {"s4d": "S4D", "attention": "attention (RoPE)", "mamba": "Mamba"}
lengths = [24, 48, 192, 768]

fig, ax = plt.subplots(figsize=(6.5, 2.8))
print("accuracy at length       24     48    192    768   parameters")
for variant, name in names.items():
    run = runs[variant]
    right = [run["final"]["accuracy"], *(entry["accuracy"] for entry in run["evaluate"])]
    print(f"{name:20}" + "".join(f"{x:7.3f}" for x in right) + f"   {run['parameters']:10,}")
    ax.semilogx(lengths, right, marker="o", base=2, label=name)
ax.axhline(1 / 7, ls=":", lw=1, color="gray")
ax.set(xlabel="length (trained at 24)", ylabel="accuracy", ylim=(0, 1.03))
ax.legend()
fig.tight_layout()

# %% check
assert set(runs) == set(names)
