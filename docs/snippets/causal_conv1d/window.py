# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.selective.causal_conv1d import causal_conv1d

# %% shown
l = 24
weight = torch.tensor([[0.25, 0.5, 0.75, 1.0]])  # one channel, four taps


def short(x):
    return causal_conv1d(x.view(1, l, 1), weight)[0].flatten()


band = torch.autograd.functional.jacobian(short, torch.zeros(l))  # outputs by inputs
age = (torch.arange(l)[:, None] - torch.arange(l)).float()
decay = torch.where(age >= 0, 0.9**age, 0.0)  # a state that keeps 0.9 a step
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3.2))
names = ("short convolution: four taps", "a decaying state: all of the past")
for ax, matrix, name in zip(axes, (band, decay), names, strict=True):
    ax.imshow(torch.where(matrix == 0, torch.nan, matrix), cmap="Blues", vmin=-0.4, vmax=1)
    ax.set(xlabel="input", ylabel="output", title=name)
fig.tight_layout()

# %% check
assert ((band != 0) == ((age >= 0) & (age < 4))).all()
