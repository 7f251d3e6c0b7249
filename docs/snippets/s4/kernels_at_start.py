# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.structured.s4 import S4, S4Config
from ssm_ref.structured.s4d import S4D, S4DConfig

torch.manual_seed(3)

# %% shown
fig, axes = plt.subplots(2, 1, figsize=(7, 4), sharex=True)
s4, s4d = S4(S4Config(d_model=3, l_max=1000)), S4D(S4DConfig(d_model=3))
with torch.no_grad():
    for ax, layer, name in zip(axes, (s4, s4d), ("S4", "S4D-LegS"), strict=True):
        layer.log_dt.copy_(torch.tensor([0.002, 0.01, 0.05]).log())
        for dt, K in zip((0.002, 0.01, 0.05), layer.kernel(1000), strict=True):
            ax.plot(K / K.abs().max(), lw=1, label=f"Δ = {dt}")
        ax.set(ylabel=f"K, {name}")
axes[0].legend(ncols=3)
axes[0].set_title("Kernels at the start, with the low rank and without")
axes[1].set_xlabel("tap")
fig.tight_layout()

# %% check
assert s4.kernel(1000).isfinite().all()
