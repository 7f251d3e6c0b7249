# %% setup
import torch

from ssm_ref.linear_attention.recurrence import chunked
from ssm_ref.linear_attention.retnet import (
    retention_case,
    retention_parallel,
    retention_recurrent,
)

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)

# %% shown
q, k = torch.randn(2, 1, 300, 4, 16)  # batch, length, heads, key width
v = torch.randn(1, 300, 4, 32)

loop = retention_recurrent(q, k, v)
print(f"matrix differs by {(retention_parallel(q, k, v) - loop).abs().max().item():.0e}")
for size in (16, 64, 256):
    o, S = chunked(retention_case(q, k, v), chunk_size=size)
    print(f"chunks of {size:>3} differ by {(o - loop).abs().max().item():.0e}")
print("the state that decoding carries:", tuple(S.shape))

# %% check
assert torch.allclose(o, loop)
