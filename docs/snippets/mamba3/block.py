# %% setup
import torch

from ssm_ref.selective.mamba3 import Mamba3, Mamba3Config

torch.manual_seed(0)

# %% shown
for mimo in (None, 4):
    block = Mamba3(Mamba3Config(d_model=64, d_state=32, d_head=16, mimo_rank=mimo))
    u = torch.randn(2, 100, 64)  # batch, length, model width
    y = block(u)
    state = block.allocate_state(2)
    for t in range(100):
        y_t, state = block.step(u[:, t], state)
    worst = (y_t - y[:, -1]).abs().max().item()
    size = sum(p.numel() for p in block.parameters())
    print(f"rank {mimo or 1}: out {tuple(y.shape)}, {size} parameters, step differs by {worst:.0e}")

# %% check
assert worst < 1e-4
