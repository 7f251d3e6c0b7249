# %% setup
import torch

from ssm_ref.recurrent.rg_lru import GriffinBlock, GriffinBlockConfig

torch.manual_seed(0)

# %% shown
block = GriffinBlock(GriffinBlockConfig(d_model=64, n_heads=4))
u = torch.randn(1, 300, 64)

y, state = block.prefill(u, block.allocate_state(1))
print("output", tuple(y.shape))
print("state ", tuple(state.conv.shape), "inputs of the convolution,", tuple(state.h.shape), "h")

y_next, state = block.step(torch.randn(1, 64), state)
print("after one more token the state has as many numbers:", state.conv.numel() + state.h.numel())

# %% check
assert state.conv.numel() + state.h.numel() == 3 * 64 + 64
