# %% setup
import math
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"


NAMES = {
    "mamba_negative": "Mamba, eigenvalues in (-1, 1)",
    "deltanet_negative": "DeltaNet, eigenvalues in (-1, 1)",
}


def above_chance(accuracy: float, classes: int) -> float:
    return (accuracy - 1 / classes) / (1 - 1 / classes)


# %% shown
rows = [row for path in sorted(EXPERIMENTS.glob("*_paper.jsonl")) for row in read_rows(path)]
published = {
    ("copying_paper", "mamba"): "",
    ("induction_heads_paper", "attention"): "1.000",
    ("modular_arithmetic_paper", "mamba3"): "",
    ("parity_paper", "mamba_negative"): "1.000 beyond 40",
    ("parity_paper", "deltanet_negative"): "1.000 beyond 40",
    ("selective_copying_paper", "mamba_fast"): "0.998",
}

print("experiment          variant            steps of planned      right   published")
for row in rows:
    name = row["experiment"].removesuffix("_paper")
    theirs = published.get((row["experiment"], row["variant"]), "")
    print(
        f"{name:19} {row['variant']:17} {row['steps']:6,} of {row['planned']:7,}   "
        f"{row['final']['accuracy']:6.3f}   {theirs}"
    )

(text,) = read_rows(EXPERIMENTS / "bytes_large.jsonl")
bits = text["final"]["loss"] / math.log(2)
done = f"{text['steps']:,} of {text['planned']:,}"
print(f"bytes_large         {text['variant']:17} {done:>17}   {bits:.2f} bits a byte")

print("\nparity, share above chance    40 bits   64   128   256 (the first 40 left out)")
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8))
for row in read_rows(EXPERIMENTS / "parity_paper.jsonl"):
    scores = [row["final"], *row["evaluate"]]
    shares = "".join(f"{above_chance(entry['accuracy'], 2):7.3f}" for entry in scores)
    print(f"{row['variant']:27}{shares}")
    left.semilogy(*zip(*row["curve"], strict=True), label=NAMES[row["variant"]])
for row in read_rows(EXPERIMENTS / "copying_paper.jsonl"):
    right.plot(
        *zip(*((8 * s, loss) for s, loss in row["curve"]), strict=True), label=row["variant"]
    )
left.set(title="parity, 40 bits", xlabel="step (of 20,000)", ylabel="loss")
right.set(title="copying, width 1024", xlabel="strings seen", ylabel="loss")
for ax in (left, right):
    ax.legend(fontsize="small")
fig.tight_layout()

# %% check
best = {row["variant"]: row for row in read_rows(EXPERIMENTS / "parity_paper.jsonl")}
assert above_chance(best["mamba_negative"]["evaluate"][-1]["accuracy"], 2) > 0.99
assert all(row["steps"] < row["planned"] for row in rows)
