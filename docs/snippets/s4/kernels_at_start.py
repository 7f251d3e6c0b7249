# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.structured.hippo import hippo, normal_plus_low_rank
from ssm_ref.structured.s4 import krylov

torch.manual_seed(0)

# %% shown
steps = (0.002, 0.01, 0.05)
eigenvalues, P, B, V = normal_plus_low_rank("legs", 64)  # of both halves
C = torch.randn(32, dtype=torch.complex128)
C = torch.cat([C.conj().flip(0), C])  # the same for both kernels, in conjugate pairs
fig, axes = plt.subplots(2, 1, figsize=(7, 4), sharex=True)
normal = torch.diag(eigenvalues)
for ax, A, name in zip(axes, (normal - P.mT @ P.conj(), normal), ("S4", "S4D-LegS"), strict=True):
    for dt in steps:
        K = (C @ krylov(torch.matrix_exp(dt * A), B, 1000)).real  # C e^{iΔA} B, tap by tap
        ax.plot(K / K.abs().max(), lw=1, label=f"Δ = {dt}")
    ax.set(ylabel=f"K, {name}")
axes[0].legend(ncols=3)
axes[0].set_title("Kernels at the start, with the low rank and without")
axes[1].set_xlabel("tap")
fig.tight_layout()

# %% check
legs = hippo("legs", 64)
torch.testing.assert_close(V @ (normal - P.mT @ P.conj()) @ V.mH, legs[0].to(V.dtype))
torch.testing.assert_close(V @ B, legs[1].to(V.dtype))
