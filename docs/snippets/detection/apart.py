# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.vision.boxes import overlap

# %% shown
truth = torch.tensor([0.0, 0.0, 10.0, 10.0])
moves = torch.linspace(0, 40, 161)
boxes = truth + moves[:, None] * torch.tensor([1.0, 0.0, 1.0, 0.0])  # further and further right

figure, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
axes.plot(moves, overlap(boxes, truth), label="IoU")
axes.plot(moves, overlap(boxes, truth, generalised=True), label="GIoU")
axes.axvline(10, ls=":", color="gray")
axes.set(
    xlabel="pixels between two boxes of width 10",
    ylabel="overlap",
    title="Once boxes do not touch, only GIoU says how far apart they are",
)
axes.legend()
plt.show()

# %% check
assert overlap(boxes, truth)[60:].abs().max() == 0
assert (overlap(boxes, truth, generalised=True).diff() < 0).all()
