# %% setup
import torch

from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config
from ssm_ref.selective.ssd import ssd, ssd_quadratic

torch.manual_seed(0)

# %% shown
cfg = Mamba2Config(d_model=64, d_state=32, d_head=16, n_groups=2)
block = Mamba2(cfg)  # the scan is an argument: here the chunked algorithm
u = torch.randn(2, 200, 64)  # batch, length, d_model
y = block(u)
print(y.shape, f"{cfg.n_heads} heads of {cfg.d_head}")

for scan in (ssd, ssd_quadratic):  # the loop, and masked attention
    other = Mamba2(cfg, scan=scan)
    other.load_state_dict(block.state_dict())
    print(f"{scan.__name__}: differs by {(other(u) - y).abs().max():.1e}")

state = block.allocate_state(2)
for t in range(200):
    y_t, state = block.step(u[:, t], state)
print(f"step by step: differs by {(y_t - y[:, -1]).abs().max():.1e}")

# %% check
assert torch.allclose(y_t, y[:, -1], atol=1e-5)
