# %% setup
import torch

from ssm_ref.recurrent.rnn import RNN

torch.manual_seed(0)

# %% shown
layer = RNN(d_in=8, d_model=16)
u = torch.randn(2, 100, 8)  # batch, length, d_in

y, state = layer(u)  # all hidden states, and the last one
y_head, state_head = layer(u[:, :60])  # the same in two pieces
y_tail, _ = layer(u[:, 60:], state_head)
print(y.shape, state.shape)
print("cut at 60:", (torch.cat([y_head, y_tail], dim=1) - y).abs().max().item())

# %% check
assert torch.allclose(torch.cat([y_head, y_tail], dim=1), y, atol=1e-6)
