# %% setup
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

import ssm_ref
from ssm_ref.training.config import load_config
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
print(f"{'':15} {'parameters':>10} {'shown':>7} {'AP':>6} {'AP50':>6} {'AP75':>6}")
for name in ("canvases_large", "canvases"):
    (run,) = read_rows(EXPERIMENTS / f"{name}.jsonl")
    measured = run["measured"]
    shown = run["steps"] * load_config(EXPERIMENTS / f"{name}.toml").settings.batch_size
    scores = " ".join(f"{measured[key]:6.3f}" for key in ("AP", "AP50", "AP75"))
    print(f"{name:15} {run['parameters']:10,} {shown:7,} {scores}")
print(
    f"{measured['boxes']} boxes on {measured['canvases']} held-out canvases; below, the small one"
)

source = load_config(EXPERIMENTS / "canvases.toml").open_data()
batch = next(source.validation(1, 25))  # the canvases that were measured, drawn again
figure, axes = plt.subplots(2, 3, figsize=(6.5, 4.5), layout="constrained")
shown = zip(axes.flat, batch.inputs, batch.targets, measured["answers"], strict=False)
for ax, canvas, wanted, found in shown:
    ax.imshow(canvas[0], cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    for k, x0, y0, x1, y1 in wanted.tolist():
        if k >= 0:
            ax.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec="gray"))
    for k, x0, y0, x1, y1, score in found:
        if score < 0.5:
            continue
        box = Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=f"C{int(k)}", lw=2)
        ax.add_patch(box)
        ax.text(x0, y0 - 1, f"{int(k)}: {score:.2f}", color=f"C{int(k)}", fontsize=8)
plt.show()

# %% check
assert len(measured["answers"]) == 6
