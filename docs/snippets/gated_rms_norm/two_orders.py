# %% setup
import torch

from ssm_ref.selective.gated_rms_norm import gated_rms_norm

torch.manual_seed(0)

# %% shown
x, weight = torch.randn(1, 4), torch.ones(4)
z = torch.tensor([[6.0, -6.0, -6.0, -6.0]])  # one channel open, three shut

after = gated_rms_norm(x, weight, z)  # gate, then normalise: Mamba-2
before = gated_rms_norm(x, weight, z, norm_before_gate=True)  # normalise, then gate
print("x                  ", x[0].numpy().round(2))
print("gate, then norm    ", after[0].numpy().round(2))
print("norm, then gate    ", before[0].numpy().round(2))

# %% check
assert not torch.allclose(after, before)
