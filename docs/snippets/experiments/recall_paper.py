# %% setup
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"
NAMES = {
    "attention": "attention",
    "state256": "Mamba-2, N = 256",
    "state64": "Mamba-2, N = 64",
    "state16": "Mamba-2, N = 16",
    "mamba": "Mamba, N = 16",
}

# %% shown
runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / "associative_recall_paper.jsonl")}
right = {
    name: {entry["changed"]["pairs"]: entry["accuracy"] for entry in row["evaluate"]}
    for name, row in runs.items()
}
pairs = list(right["attention"])
print(f"values recalled, of {', '.join(map(str, pairs[:-1]))} and {pairs[-1]} pairs; width 64")
for variant, name in NAMES.items():
    shares = "".join(f"{share:8.3f}" for share in right[variant].values())
    steps = f"{runs[variant]['steps']:,} of {runs[variant]['planned']:,}"
    print(f"  {name:18}{steps:>18}{shares}")

figure, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
for variant, name in NAMES.items():
    ax.plot(pairs, list(right[variant].values()), marker=".", label=name)
ax.set_xscale("log", base=2)
ax.set(xlabel="pairs", ylabel="accuracy", xticks=pairs, xticklabels=pairs)
ax.legend(fontsize="small")
plt.show()

# %% check
at_most = [right[name][64] for name in ("mamba", "state16", "state64", "state256")]
assert at_most == sorted(at_most)
