# %% setup
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from ssm_ref.foundations.discretization import half_life
from ssm_ref.selective.mamba import Mamba, MambaConfig

torch.manual_seed(0)

# %% shown
block = Mamba(MambaConfig(d_model=512))
step = F.softplus(block.dt_bias.detach())[:, None]  # Δ of a token that says nothing, (d, 1)
lives = half_life(-block.A_log.detach().exp(), step)  # steps, (d, n)

fig, ax = plt.subplots(figsize=(6.5, 3))
bins = torch.logspace(-0.5, 3, 36)
for n in (0, 3, 15):
    ax.hist(lives[:, n], bins=bins, alpha=0.6, label=f"A = −{n + 1}")
ax.set(xscale="log", xlabel="steps until half is forgotten", ylabel="channels of 1,024")
ax.set_title("How long a channel remembers at the start")
ax.legend()
fig.tight_layout()
print(f"shortest {lives.min():.2f} steps, longest {lives.max():.0f}")

# %% check
assert 0.4 < lives.min() < 0.6
assert 600 < lives.max() < 700
