# %% setup
import torch

from ssm_ref.recurrent.slstm import SLSTM, slstm_recurrence

torch.manual_seed(0)

# %% shown
layer = SLSTM(d_in=4, d_model=8).requires_grad_(False)
u = torch.randn(1, 50, 4)
R = layer.recurrent_matrix()

for added in (0, 60, 600):  # to the pre-activation of every input gate
    layer.bias[:8] = added
    plain = slstm_recurrence(u @ layer.weight.T + layer.bias, R)
    h = layer(u)
    print(f"i + {added:>3}: as written {plain[0, -1, 0]:.4f}, with the maximum {h[0, -1, 0]:.4f}")

# %% check
assert plain.isnan().any()
assert h.isfinite().all()
