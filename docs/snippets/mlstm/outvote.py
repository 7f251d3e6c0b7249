# %% setup
import torch

from ssm_ref.linear_attention.mlstm import mlstm_recurrent

torch.manual_seed(0)

# %% shown
# Ten values under one key, the last of them 9, all forget gates open.
key = torch.ones(1, 10, 1, 1)
v = torch.ones(1, 10, 1, 1)
v[0, -1] = 9
for gate in (0.0, 2.0, 5.0, 50.0):
    i = torch.zeros(1, 10, 1)
    i[0, -1] = gate  # how loud the last vote is: e^gate
    h = mlstm_recurrent(key, key, v, i, torch.full((1, 10, 1), 50.0))
    print(f"input gate {gate:>4}: the key reads {h[0, -1, 0, 0]:.2f}")

# %% check
assert abs(h[0, -1, 0, 0].item() - 9) < 1e-3
