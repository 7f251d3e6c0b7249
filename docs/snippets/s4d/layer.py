# %% setup
import torch

from ssm_ref.foundations.convolution import run_recurrence
from ssm_ref.structured.s4d import S4D, S4DConfig

torch.manual_seed(0)

# %% shown
s4d = S4D(S4DConfig(d_model=16, d_state=64, init="lin"))
u = torch.randn(2, 1000, 16)  # b l d

y, state = s4d(u)  # one convolution
print("output", tuple(y.shape), " state", tuple(state.shape), state.dtype)

y_next, state = s4d.step(torch.randn(2, 16), state)  # then token by token
print("next token", tuple(y_next.shape))

slow = S4D(s4d.cfg, run=run_recurrence)
slow.load_state_dict(s4d.state_dict())
print(f"convolution against recurrence: {(slow(u)[0] - y).abs().max():.0e}")

# %% check
torch.testing.assert_close(slow(u)[0], y, rtol=1e-3, atol=1e-3)
