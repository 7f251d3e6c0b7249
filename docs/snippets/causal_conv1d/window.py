# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.selective.causal_conv1d import causal_conv1d
from ssm_ref.structured.s4d import S4D, S4DConfig

torch.manual_seed(0)

# %% shown
l = 24
weight = torch.tensor([[0.25, 0.5, 0.75, 1.0]])  # one channel, four taps


def short(x):
    return causal_conv1d(x.view(1, l, 1), weight)[0].flatten()


long = S4D(S4DConfig(d_model=1, init="real", dt_min=0.02, dt_max=0.02)).kernel(l)[0].detach()
gap = torch.arange(l)[:, None] - torch.arange(l)
pictures = {
    "short convolution: four taps": torch.autograd.functional.jacobian(short, torch.zeros(l)),
    "a state space: all of the past": torch.where(gap >= 0, long[gap.clamp(min=0)], 0.0),
}
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3.2))
for ax, (name, matrix) in zip(axes, pictures.items(), strict=True):
    ax.imshow(
        torch.where(matrix == 0, torch.nan, matrix.abs() / matrix.abs().max()),
        cmap="Blues",
        vmin=-0.4,
        vmax=1,
    )
    ax.set(xlabel="input", ylabel="output", title=name)
fig.tight_layout()

# %% check
band = next(iter(pictures.values()))
assert ((band != 0) == ((gap >= 0) & (gap < 4))).all()
