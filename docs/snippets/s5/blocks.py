# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.structured.s5 import S5Config, initial_state_space

torch.manual_seed(0)

# %% shown
fig, ax = plt.subplots(figsize=(6.5, 3))
for blocks in (1, 4, 16):
    eigenvalues, _, _ = initial_state_space(S5Config(d_model=1, d_state=64, blocks=blocks))
    values, counts = eigenvalues.imag.round(decimals=6).unique(return_counts=True)
    ax.semilogx(values, counts, "o", label=f"blocks: {blocks}, frequencies to {values.max():.0f}")
ax.set(xlabel="frequency Im Λ", ylabel="states at it", title="32 stored states at the start")
ax.legend()
fig.tight_layout()

# %% check
assert eigenvalues.shape == (32,)
