# %% setup
import torch

from ssm_ref.recurrent.lstm import LSTM

torch.manual_seed(0)

# %% shown
layer = LSTM(d_in=8, d_model=16)
u = torch.randn(2, 100, 8)  # batch, length, d_in

y, state = layer.prefill(u, layer.allocate_state(2))
print(y.shape, state.h.shape, state.c.shape)

theirs = torch.nn.LSTM(8, 16, batch_first=True)  # the same parameters under PyTorch's names
theirs.load_state_dict({f"{name}_l0": value for name, value in layer.state_dict().items()})
print("difference from torch.nn.LSTM:", (theirs(u)[0] - y).abs().max().item())

# %% check
assert torch.allclose(theirs(u)[0], y, atol=1e-5)
