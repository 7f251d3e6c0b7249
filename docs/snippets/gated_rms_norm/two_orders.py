# %% setup
import torch

from ssm_ref.selective.gated_rms_norm import gated_rms_norm

# %% shown
x, weight = torch.tensor([[0.3, 1.5, -2.0, 1.0]]), torch.ones(4)  # the first channel is quiet
z = torch.tensor([[1.28, -6.0, -6.0, -6.0]])  # and alone open: SiLU(1.28) = 1

after = gated_rms_norm(x, weight, z)  # gate, then normalise: Mamba-2
before = gated_rms_norm(x, weight, z, norm_before_gate=True)  # normalise, then gate
print("x                  ", x[0].numpy().round(2))
print("gate, then norm    ", after[0].numpy().round(2))
print("norm, then gate    ", before[0].numpy().round(2))

# %% check
assert after[0, 0] > 1.9
assert before[0, 0] < 0.25
