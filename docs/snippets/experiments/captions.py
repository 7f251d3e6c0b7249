# %% setup
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import ssm_ref
from ssm_ref.training.config import load_config
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / "captions.jsonl")}
print("held-out captions that are right to the last byte")
for variant, row in runs.items():
    print(
        f"  connector {variant:5} {row['final']['exact']:.3f}  ({row['parameters']:,} parameters)"
    )

pixels, labels = load_digits(return_X_y=True)
held = [i % 5 == 4 for i in range(len(labels))]
kept = [not i for i in held]
linear = LogisticRegression(max_iter=500).fit(pixels[kept] / 16, labels[kept])
one = linear.score(pixels[held] / 16, labels[held])
print(f"  logistic regression on each digit cut out: {one:.3f}³ = {one**3:.3f}")

source = load_config(EXPERIMENTS / "captions.toml", "scan").open_data()
(batch,) = source.validation(1, 12)
height, width = source.sizes["image"]
pictures = batch.inputs[:4, : height * width].reshape(4, height, width)
figure, axes = plt.subplots(1, 4, figsize=(6.5, 1), layout="constrained")
for ax, picture in zip(axes, pictures, strict=True):
    ax.imshow(picture, cmap="gray_r")
    ax.set_axis_off()
plt.show()
for caption in runs["scan"]["measured"]["captions"][:4]:
    print(caption["said"])

# %% check
assert min(row["final"]["exact"] for row in runs.values()) > one**3
