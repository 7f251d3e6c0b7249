# %% setup
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import ssm_ref
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
(run,) = read_rows(EXPERIMENTS / "digits.jsonl")

pixels, labels = load_digits(return_X_y=True)
held = [i % 5 == 4 for i in range(len(labels))]
kept = [not i for i in held]
linear = LogisticRegression(max_iter=500).fit(pixels[kept] / 16, labels[kept])
baseline = linear.score(pixels[held] / 16, labels[held])

print(f"Vision Mamba         {run['final']['accuracy']:.3f}  ({run['parameters']:,} parameters)")
print(f"logistic regression  {baseline:.3f}")

fig, ax = plt.subplots(figsize=(6.5, 2.6))
steps, _, right = zip(*run["validation"], strict=True)
ax.plot(steps, right, marker="o", label="Vision Mamba, held-out digits")
ax.axhline(baseline, ls=":", color="gray", label="logistic regression")
ax.set(xlabel="step", ylabel="accuracy", ylim=(0.85, 1))
ax.legend(loc="lower right")
fig.tight_layout()

# %% check
assert run["final"]["accuracy"] > baseline > 0.9
