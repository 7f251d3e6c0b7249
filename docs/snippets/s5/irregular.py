# %% setup
import torch

from ssm_ref.structured.s5 import S5, S5Config

torch.manual_seed(0)

# %% shown
s5 = S5(S5Config(d_model=8, d_state=32, blocks=4))
u = torch.randn(1, 100, 8)  # b l d
y, state = s5(u)
print("output", tuple(y.shape), " one state for all channels", tuple(state.shape))

# A sensor that skips samples: half as many tokens, each held for two steps.
gaps = torch.full((1, 100), 2.0)
_, irregular = s5(u, gaps=gaps)
_, regular = s5(u.repeat_interleave(2, dim=1))
print(f"gaps of 2 against every token twice: {(irregular - regular).abs().max():.0e}")

# %% check
torch.testing.assert_close(irregular, regular, rtol=1e-4, atol=1e-5)
