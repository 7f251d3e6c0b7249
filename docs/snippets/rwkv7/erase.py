# %% setup
import torch

from ssm_ref.linear_attention.rwkv7 import WKV7, wkv7_recurrent

torch.manual_seed(0)

# %% shown
key = torch.nn.functional.normalize(torch.randn(4), dim=-1)
keys = key.expand(1, 2, 1, 4)  # one key, written twice: batch, length, head, width
values = torch.tensor([[1.0, 2, 3, 4], [9.0, 9, 9, 9]])[None, :, None]
ones, start = torch.ones(1, 2, 1, 4), torch.zeros(1, 1, 4, 4)

for a in (0.0, 1.0):  # how much of the old answer is erased before writing
    y, _ = wkv7_recurrent(WKV7(keys, ones, keys, values, keys, a * ones), start)
    print(f"a = {a:.0f}: reading by the key gives", y[0, 1, 0].round(decimals=3).tolist())

# %% check
assert torch.allclose(y[0, 1, 0], torch.full((4,), 9.0), atol=1e-5)
