# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.selective.selective_scan import selective_scan

torch.manual_seed(0)

# %% shown
l = 200
x = 0.3 * torch.randn(1, l, 1)  # noise
x[0, 20] = 5.0  # the one token worth keeping
A, B = -torch.ones(1, 1), torch.ones(1, l, 1)

fixed = torch.full((1, l, 1), 0.05)  # one step for every token
chosen = torch.full((1, l, 1), 1e-4)  # nearly no time passes on noise
chosen[0, 20] = 1.0

figure, axes = plt.subplots(figsize=(5.2, 2.6), layout="constrained")
for dt, label in ((fixed, "Δ = 0.05 for all"), (chosen, "Δ chosen by the token")):
    h, _ = selective_scan(x, dt, A, B, B)  # C = 1: the output is the state
    axes.plot(h[0, :, 0], label=label)
axes.set_title("A constant step forgets, a chosen one keeps")
axes.set_xlabel("token")
axes.set_ylabel("state")
axes.legend()
plt.show()

# %% check
assert h[0, -1, 0] > 4.5
