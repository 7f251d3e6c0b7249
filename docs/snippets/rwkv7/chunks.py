# %% setup
import torch

from ssm_ref.linear_attention.rwkv7 import WKV7, wkv7_chunked, wkv7_recurrent

torch.manual_seed(0)

# %% shown
shape = (1, 512, 4, 64)  # batch, length, heads, head width
r, k, v, kappa = torch.randn(4, *shape)
w, a = 0.55 + 0.44 * torch.rand(shape), torch.rand(shape)
x = WKV7(r, w, k / 8, v, torch.nn.functional.normalize(kappa, dim=-1), a)
start = torch.zeros(1, 4, 64, 64)

want, _ = wkv7_recurrent(x, start)
for chunk_size in (8, 16, 32):
    y, _ = wkv7_chunked(x, start, chunk_size=chunk_size)
    print(f"chunks of {chunk_size}: relative difference {(y - want).norm() / want.norm():.1e}")

# %% check
assert (y - want).norm() / want.norm() < 1e-2
