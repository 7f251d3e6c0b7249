# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.foundations.discretization import Rule, discretize_diagonal, half_life

# %% shown
A, one = torch.tensor(-1.0), torch.ones(())
k = torch.arange(60)
fig, ax = plt.subplots(figsize=(6.5, 3))
for dt in (0.01, 0.05, 0.2, 1.0):
    A_bar = discretize_diagonal(A, one, torch.tensor(dt), Rule.ZOH).A_bar
    steps = half_life(A, dt).item()
    ax.plot(k, A_bar**k, label=f"Δ = {dt}: half-life {steps:.2g} steps")
ax.set(xlabel="steps since the token", ylabel="what is left", title="Δ is a clock (A = −1)")
ax.legend()
fig.tight_layout()
print(f"Δ = 0.001, A = −1:  {half_life(A, 0.001).item():.0f} steps")
print(f"Δ = 0.1,   A = −16: {half_life(16 * A, 0.1).item():.2f} steps")

# %% check
assert round(half_life(A, 0.001).item()) == 693
