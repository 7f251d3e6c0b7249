# %% setup
import math

import matplotlib.pyplot as plt
import torch

from ssm_ref.structured.hippo import online_legs, online_window, reconstruct

# %% shown
l = 1000
t = torch.arange(1, l + 1, dtype=torch.float64) / l
f = torch.sin(14 * t) + 0.6 * torch.sin(47 * t**2)  # slow at first, fast at the end
r = torch.linspace(0, 1, 500, dtype=torch.float64)

fig, axes = plt.subplots(2, 1, figsize=(7, 4.4), sharex=True)
axes[0].plot(t, f, color="tab:gray", lw=2.5, alpha=0.6, label="signal")
for n in (8, 32):
    c = online_legs(f[None], n)[0, -1]
    axes[0].plot(r, reconstruct(c, "legs", r), label=f"LegS, {n} numbers")
axes[1].plot(t, f, color="tab:gray", lw=2.5, alpha=0.6, label="signal")
theta = 0.3
c = online_window(f[None], 32, "legt", 1 / l, theta=theta)[0, -1]
recent = reconstruct(c, "legt", theta * r, theta=theta)
axes[1].plot(1 - theta * r, recent, label="LegT, 32 numbers, window 0.3")
for ax in axes:
    ax.set(ylabel="f(t)")
    ax.legend(loc="lower left")
axes[0].set_title("A signal and what is left of it in the state")
axes[1].set_xlabel("t")
fig.tight_layout()

# %% check
errors = {}
for n in (8, 32, 64):
    c = online_legs(f[None], n)[0, -1]
    errors[n] = (reconstruct(c, "legs", t - 0.5 / l) - f).square().mean().sqrt().item()
assert errors[8] > errors[32] > errors[64]
assert math.isfinite(errors[8])
assert errors[64] < 0.01

# %% shown
for n, error in errors.items():
    print(f"LegS, n = {n:2}: root mean square error {error:.4f}")
