# %% setup
import torch

from ssm_ref.recurrent.gru import GRU

torch.manual_seed(0)

# %% shown
layer = GRU(d_in=8, d_model=16)
u = torch.randn(2, 100, 8)  # batch, length, d_in

y = layer(u)
state = layer.allocate_state(2)
for t in range(100):  # constant memory: one state, whatever the length
    y_t, state = layer.step(u[:, t], state)
print(y.shape, state.shape)
print("step against forward:", (y_t - y[:, -1]).abs().max().item())

# %% check
assert torch.allclose(y_t, y[:, -1], atol=1e-6)
