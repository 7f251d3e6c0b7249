# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / "parity.jsonl")}
names = {
    "mamba": "Mamba, eigenvalues in (0, 1)",
    "deltanet": "DeltaNet, eigenvalues in (0, 1)",
    "mamba_negative": "Mamba, eigenvalues in (-1, 1)",
    "mamba3": "Mamba-3, rotation",
    "deltanet_negative": "DeltaNet, eigenvalues in (-1, 1)",
    "lstm": "LSTM, nonlinear",
}
lengths = [16, 32, 64, 256]

fig, ax = plt.subplots(figsize=(6.5, 3))
print("accuracy at length                   16     32     64    256")
for variant, name in names.items():
    run = runs[variant]
    right = [run["final"]["accuracy"], *(entry["accuracy"] for entry in run["evaluate"])]
    print(f"{name:32}" + "".join(f"{x:7.3f}" for x in right))
    ax.semilogx(lengths, right, marker="o", base=2, label=name)
ax.axhline(0.5, ls=":", lw=1, color="gray")
ax.set(xlabel="length (trained at 16)", ylabel="accuracy", ylim=(0.15, 1.02))
ax.legend(fontsize="small", loc="lower left")
fig.tight_layout()

# %% check
assert set(runs) == set(names)
