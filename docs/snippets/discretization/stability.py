# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.foundations.discretization import Rule, discretize_diagonal

# %% shown
x, y = torch.meshgrid(torch.linspace(-4, 3, 281), torch.linspace(-3, 3, 241), indexing="xy")
z = torch.complex(x, y)  # the product Δλ
one = torch.ones(())
rules = (Rule.FORWARD_EULER, Rule.BACKWARD_EULER, Rule.BILINEAR, Rule.ZOH)
fig, axes = plt.subplots(2, 2, figsize=(6, 5.2), sharex=True, sharey=True)
for ax, rule in zip(axes.flat, rules, strict=True):
    A_bar = discretize_diagonal(z, one, one, rule).A_bar
    ax.contourf(x, y, A_bar.abs(), levels=[0, 1], colors=["tab:blue"], alpha=0.5)
    ax.axvline(0, color="tab:gray", lw=0.8)
    ax.set(title=rule.replace("_", " "), aspect="equal")
plt.setp(axes[1], xlabel="Re Δλ")
plt.setp(axes[:, 0], ylabel="Im Δλ")
fig.tight_layout()

# %% check
left = z.real < 0
for rule in rules[1:]:
    assert (discretize_diagonal(z, one, one, rule).A_bar.abs()[left] <= 1 + 1e-6).all()
assert not (discretize_diagonal(z, one, one, rules[0]).A_bar.abs()[left] <= 1 + 1e-6).all()
