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

# %% shown
print("at the length of training     steps of planned      right   published")
for experiment, variant, theirs in (
    ("selective_copying", "mamba_small_batch", "0.998"),
    ("induction_heads", "mamba", "1.000"),
    ("induction_heads", "attention", "1.000"),
    ("copying", "attention", ""),
    ("copying", "mamba", ""),
):
    row = runs(experiment)[variant]
    name = f"{experiment}, {variant.partition('_')[0]}"
    steps = f"{row['steps']:,} of {row['planned']:,}"
    print(f"{name:28}{steps:>18}{row['final']['accuracy']:11.3f}   {theirs}".rstrip())

fig, axes = plt.subplots(2, 2, figsize=(7.2, 5.4), layout="constrained")
for ax, experiment, classes in zip(axes[0], PUBLISHED, (2, 5), strict=True):
    lengths = [
        next(iter(entry["changed"].values())) for entry in runs(experiment)["mamba"]["evaluate"]
    ]
    head = "".join(f"{length:>7}" for length in lengths)
    print(f"\n{experiment}, share above chance{'':{24 - len(experiment)}}{head}   published")
    for variant, row in runs(experiment).items():
        shares = [above_chance(entry["accuracy"], classes) for entry in row["evaluate"]]
        theirs = PUBLISHED[experiment].get(variant)
        steps = f"{row['steps']:,} of {row['planned']:,}"
        line = "".join(f"{share:7.3f}" for share in shares)
        theirs = "" if theirs is None else f"{theirs:.3f}"
        print(f"  {NAMES[variant]:20}{steps:>20} {line}   {theirs}".rstrip())
        ax.plot(lengths, shares, marker=".", label=NAMES[variant])
    ax.set_xscale("log", base=2)
    ax.set(ylabel="share above chance", ylim=(-0.05, 1.05))
axes[0, 0].set(title="parity", xlabel="bits")
axes[0, 1].set(title="arithmetic modulo 5", xlabel="numbers")
axes[0, 0].legend(fontsize="small")

mamba = runs("induction_heads")["mamba"]
right = {entry["changed"]["length"]: entry["accuracy"] for entry in mamba["evaluate"]}
right = dict(sorted({**right, 256: mamba["final"]["accuracy"]}.items()))
print("\ninduction heads by length, Mamba (published: 1.000 at every one)")
print("  " + "  ".join(f"{length:,}: {share:.3f}" for length, share in right.items()))
axes[1, 0].semilogx(list(right), list(right.values()), marker=".", base=2)
axes[1, 0].axvline(256, color="gray", linestyle=":")
axes[1, 0].set(title="induction heads, Mamba", xlabel="length", ylabel="accuracy")

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
assert right[65536] == 1.0
