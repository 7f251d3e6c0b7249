# %% setup
import torch

from ssm_ref.recurrent.rnn import RNN

torch.manual_seed(0)

# %% shown
layer = RNN(d_in=8, d_model=16)
u = torch.randn(2, 100, 8)  # batch, length, d_in

y, state = layer.prefill(u, layer.allocate_state(2))  # all hidden states, and the last one
y_head, state_head = layer.prefill(u[:, :60], layer.allocate_state(2))  # the same in two pieces
y_tail, _ = layer.prefill(u[:, 60:], state_head)
print(y.shape, state.shape)
print("cut at 60:", (torch.cat([y_head, y_tail], dim=1) - y).abs().max().item())

# %% check
assert torch.allclose(torch.cat([y_head, y_tail], dim=1), y, atol=1e-6)
