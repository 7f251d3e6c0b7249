# %% setup
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import ssm_ref
from ssm_ref.training.brain import read_runs
from ssm_ref.training.metrics import read_rows

EXPERIMENTS = Path(ssm_ref.__file__).parents[1] / "docs" / "experiments"

# %% shown
forms = {
    "a pixel of 4 × 4 voxels, one CPU core": "brain_slices",
    "every voxel, a GPU": "brain_slices_large",
}
names = {"vm_unet": "VM-UNet", "pixels": "5 × 5 pixels"}

print(f"{'Dice on held-out slices':22} {'grey':>6} {'white':>6} {'parameters':>11} {'steps':>10}")
for form, file in forms.items():
    print(form)
    runs = {row["variant"]: row for row in read_rows(EXPERIMENTS / f"{file}.jsonl")}
    for variant, name in names.items():
        run, dice = runs[variant], runs[variant]["measured"]["dice"]
        steps = f"{run['steps']} of {run['planned']}"
        scores = f"{dice['grey']:6.3f} {dice['white']:6.3f}"
        print(f"  {name:20} {scores} {run['parameters']:11,} {steps:>10}")

truth = read_runs(runs["vm_unet"]["measured"]["truth"])  # of the last form
maps = {"truth": truth}
for variant, name in names.items():
    answer = read_runs(runs[variant]["measured"]["answer"])
    maps[name] = torch.where(answer == truth, answer, 3)  # 3: an error

figure, axes = plt.subplots(1, 3, figsize=(6.5, 3.1), layout="constrained")
for ax, (name, drawn) in zip(axes, maps.items(), strict=True):
    ax.imshow(drawn, cmap="viridis", vmin=0, vmax=3, interpolation="nearest")
    ax.set(title=name, xticks=[], yticks=[])
figure.supxlabel("grey and white matter in slice 108, one of those held out; errors yellow")
plt.show()

# %% check
assert runs["vm_unet"]["measured"]["slice"] == 108
