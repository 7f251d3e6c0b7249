# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / "modular_arithmetic.jsonl")}
names = {
    "mamba": "Mamba, eigenvalues in (0, 1)",
    "mamba_negative": "Mamba, eigenvalues in (-1, 1)",
    "deltanet_negative": "DeltaNet, eigenvalues in (-1, 1)",
    "mamba3": "Mamba-3, rotation",
    "lstm": "LSTM, nonlinear",
}

fig, ax = plt.subplots(figsize=(6.5, 2.8))
print("accuracy                        8 numbers  9 to 16  9 to 64   parameters")
for variant, name in names.items():
    run = runs[variant]
    right = [run["final"]["accuracy"], *(entry["accuracy"] for entry in run["evaluate"])]
    print(f"{name:32}" + "".join(f"{x:9.3f}" for x in right) + f"   {run['parameters']:10,}")
    ax.plot(*zip(*((step, x) for step, _, x in run["validation"]), strict=True), label=name)
ax.axhline(1 / 3, ls=":", lw=1, color="gray")
ax.set(xlabel="step", ylabel="values right, 8 numbers", ylim=(0.3, 1.03))
ax.legend(fontsize="x-small")
fig.tight_layout()

# %% check
assert set(runs) == set(names)
