# %% setup
import torch

from ssm_ref.recurrent.slstm import SLSTM

torch.manual_seed(0)

# %% shown
cell = SLSTM(d_in=2, d_model=1).requires_grad_(False)  # inputs: a bit, and "first token"
for parameter in cell.parameters():
    parameter.zero_()
K = 30.0
cell.weight[:] = torch.tensor([[2 * K, 2 * K], [-2 * K, -2 * K], [0, K], [0, 0]])  # i, f, z, o
cell.bias[:] = torch.tensor([-K, K, 0, K])  # on a one: write and forget; on a zero: keep
cell.recurrent[2] = -K  # and what is written is minus the state

bits = torch.randint(2, (1, 5000))
first = torch.zeros_like(bits)
first[:, 0], bits[:, 0] = 1, 0
h = cell(torch.stack([bits, first], dim=-1).float())[0, :, 0]
parity = bits[0].cumsum(0) % 2
print("bits  ", bits[0, :12].tolist())
print("state ", [round(v, 3) for v in h[:12].tolist()])
print("right on", int(((h < 0) == parity.bool()).sum()), "of", len(h), "prefixes")

# %% check
assert ((h < 0) == parity.bool()).all()
