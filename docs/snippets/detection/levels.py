# %% setup
import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Rectangle

from ssm_ref.vision.detection import FCOS, FCOSConfig, assign
from ssm_ref.vision.vmamba import VMambaConfig

# %% shown
boxes = torch.tensor([[0.0, 6, 8, 26, 30], [1, 34, 6, 120, 100], [2, 70, 50, 100, 76]])
with torch.device("meta"):
    body = VMambaConfig(blocks=(1, 1, 1), d_model=8)
    model = FCOS(body, FCOSConfig(n_classes=3, first_stage=0, extra_levels=0))
places, strides = model.places(112, 128)
wanted = assign(places, strides, boxes[None])

figure, axes = plt.subplots(figsize=(6.5, 5.2), layout="constrained")
for k, x0, y0, x1, y1 in boxes.tolist():
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, lw=2, ec=f"C{int(k)}"))
for stride, marker in ((4, "."), (8, "s"), (16, "D")):
    axes.scatter([], [], marker=marker, color="gray", label=f"stride {stride}")
    for k in range(3):
        chosen = (strides == stride) & (wanted.classes[0] == k)
        size = 12 + 90 * wanted.centre[0, chosen]  # larger where the place is more central
        axes.scatter(*places[chosen].T, s=size, marker=marker, color=f"C{k}", alpha=0.7)
axes.set(xlim=(0, 128), ylim=(112, 0), title="Which places answer for which box, by level")
axes.legend(loc="lower left")
plt.show()

# %% check
assert {int(k) for k in wanted.classes.unique()} == {-1, 0, 1, 2}
assert set(strides[wanted.classes[0] == 0].tolist()) == {4.0}
