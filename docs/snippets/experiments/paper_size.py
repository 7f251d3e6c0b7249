# %% setup
import math
from pathlib import Path

import matplotlib.pyplot as plt

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"


def runs(experiment):
    return {r["variant"]: r for r in read_rows(EXPERIMENTS / f"{experiment}_paper.jsonl")}


def above_chance(accuracy, classes):
    return (accuracy - 1 / classes) / (1 - 1 / classes)


def steps(row):
    return f"{row['steps']:,} of {row['planned']:,}"


NAMES = {
    "mamba": "Mamba, (0, 1)",
    "mamba_negative": "Mamba, (-1, 1)",
    "mamba3": "Mamba-3",
    "deltanet": "DeltaNet, (0, 1)",
    "deltanet_negative": "DeltaNet, (-1, 1)",
}
PUBLISHED = {
    "parity": {"mamba": 0, "mamba_negative": 1, "deltanet": 0.017, "deltanet_negative": 1},
    "modular_arithmetic": {
        "mamba": 0.095,
        "mamba_negative": 0.241,
        "deltanet": 0.314,
        "deltanet_negative": 0.971,
    },
}
INDUCTION = {
    "mamba": "Mamba",
    "mamba_decayed": "Mamba, lr to 0",
    "attention_large_batch": "attention, batch 128",
    "s4_large_batch": "S4, batch 128",
    "attention": "attention",
}

# %% shown
print("at the length of training       steps of planned      right   published")
for experiment, variant, theirs in (
    ("selective_copying", "mamba_small_batch", "0.998"),
    ("selective_copying", "s4_small_batch", "0.183, 0.564"),
    ("copying", "attention", ""),
    ("copying", "mamba", ""),
):
    row = runs(experiment)[variant]
    name = f"{experiment}, {variant.partition('_')[0]}"
    print(f"{name:30}{steps(row):>18}{row['final']['accuracy']:11.3f}   {theirs}".rstrip())

heads = read_rows(EXPERIMENTS / "induction_heads_paper.jsonl")
lengths = [64, 128, 256, *(entry["changed"]["length"] for entry in heads[0]["evaluate"][2:])]
print("\ninduction heads, right of 100 by length 2ⁿ; published: Mamba 100 at every one,")
print("attention 100, 84 and 31 at 2⁸, 2⁹ and 2¹⁰")
print(f"{'':38} ", *(f"{int(math.log2(length)):3}" for length in lengths))
curves = []
for row in heads:
    right = {entry["changed"]["length"]: entry["accuracy"] for entry in row["evaluate"]}
    right[256] = row["final"]["accuracy"]
    name = INDUCTION[row["variant"]]
    curves.append((name, row["steps"], sorted(right.items())))
    line = " ".join(f"{100 * right[length]:3.0f}" for length in lengths if length in right)
    print(f"{name:20}{steps(row):>18}  {line}")

fig, axes = plt.subplots(2, 2, figsize=(7.2, 5.4), layout="constrained")
for ax, experiment, classes in zip(axes[0], PUBLISHED, (2, 5), strict=True):
    lengths = [
        next(iter(entry["changed"].values())) for entry in runs(experiment)["mamba"]["evaluate"]
    ]
    head = "".join(f"{length:>7}" for length in lengths)
    print(f"\n{experiment}, share above chance{'':{24 - len(experiment)}}{head}   published")
    for row in read_rows(EXPERIMENTS / f"{experiment}_paper.jsonl"):
        variant = row["variant"]
        shares = [above_chance(entry["accuracy"], classes) for entry in row["evaluate"]]
        theirs = PUBLISHED[experiment].get(variant)
        line = "".join(f"{share:7.3f}" for share in shares)
        theirs = "" if theirs is None else f"{theirs:.3f}"
        print(f"  {NAMES[variant]:20}{steps(row):>20} {line}   {theirs}".rstrip())
        last = row["steps"] == runs(experiment)[variant]["steps"]
        look = {"linestyle": "-", "label": NAMES[variant]} if last else {"linestyle": ":"}
        ax.plot(lengths, shares, marker=".", color=f"C{[*NAMES].index(variant)}", **look)
    ax.set_xscale("log", base=2)
    ax.set(ylabel="share above chance", ylim=(-0.05, 1.05))
axes[0, 0].set(title="parity", xlabel="bits")
axes[0, 1].set(title="arithmetic modulo 5", xlabel="numbers")
axes[0, 0].legend(fontsize="small")

for name, done, points in curves:
    if name != "attention":
        ax, label = axes[1, 0], f"{name}, {done:,} steps" if name == "Mamba" else name
        ax.semilogx(*zip(*points, strict=True), marker=".", label=label, base=2)
axes[1, 0].axvline(256, color="gray", linestyle=":")
axes[1, 0].set(title="induction heads", xlabel="length", ylabel="accuracy")
axes[1, 0].legend(fontsize="small")

print("\nbytes_large, bits per held-out byte")
for text in read_rows(EXPERIMENTS / "bytes_large.jsonl"):
    best = min(text["validation"], key=lambda point: point[1])
    points = [(step, nats / math.log(2)) for step, nats, _ in (best, text["validation"][-1])]
    at = ", ".join(f"{bits:.2f} at step {step:,}" for step, bits in points)
    print(f"  {text['variant']}: {at} of {text['planned']:,}")

for variant, row in runs("copying").items():
    strings, _, letters = zip(*row["validation"], strict=True)
    name = {"mamba": "Mamba"}.get(variant, variant)
    axes[1, 1].plot([8 * s for s in strings], letters, label=name)
axes[1, 1].set(title="copying", xlabel="strings seen", ylabel="letters right")
axes[1, 1].legend(fontsize="small")
for ax in axes[1]:
    ax.set_ylim(-0.05, 1.05)
plt.show()

# %% check
assert runs("selective_copying")["mamba_small_batch"]["final"]["accuracy"] > 0.99
assert runs("selective_copying")["s4_small_batch"]["final"]["accuracy"] < 0.35
