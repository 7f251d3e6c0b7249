# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.foundations.discretization import Rule, discretize_diagonal, half_life

# %% shown
lam, dt = torch.tensor(-0.5 + 5j), torch.tensor(0.1)
k = torch.arange(64)
fig, (left, right) = plt.subplots(1, 2, figsize=(6.8, 2.6), width_ratios=[2.4, 1])
angle = torch.linspace(0, 2 * torch.pi, 200)
right.plot(angle.cos(), angle.sin(), lw=0.8)
for rule, mark in ((Rule.ZOH, "."), (Rule.BILINEAR, "-")):
    A_bar, B_bar, _ = discretize_diagonal(lam, torch.ones(()), dt, rule)
    left.plot(k, (A_bar**k * B_bar).real, mark, label=rule.value)
    right.plot(A_bar.real, A_bar.imag, "o")
    print(f"{rule.value}: |Ā| = {A_bar.abs().item():.4f}")
left.set(xlabel="steps since the token", title="λ = −0.5 + 5i, Δ = 0.1")
left.legend()
right.set(aspect="equal", title="λ̄ in the unit disc")
fig.tight_layout()
print(f"half-life: {half_life(lam, dt.item()).item():.1f} steps")

# %% check
assert A_bar.abs() < 1
