# %% setup
import torch

from ssm_ref.structured.lru import LRU, LRUConfig

torch.manual_seed(0)

# %% shown
layer = LRU(LRUConfig(d_model=16, d_state=32))
u = torch.randn(2, 500, 16)  # batch, length, channels

y = layer(u)  # one scan over all tokens
state = layer.allocate_state(2)
for t in range(500):  # constant memory: 32 complex numbers a row
    y_t, state = layer.step(u[:, t], state)
print(y.shape, state.shape, state.dtype)
print(f"step against scan: {(y_t - y[:, -1]).abs().max():.1e}")

# %% check
assert torch.allclose(y_t, y[:, -1], atol=1e-4)
