# %% setup
import torch
from torch.nn.functional import normalize

from ssm_ref.linear_attention.gated_deltanet import (
    gated_delta_case,
    gated_delta_parallel,
    gated_delta_recurrent,
)
from ssm_ref.linear_attention.recurrence import chunked

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)

# %% shown
q, k = torch.randn(2, 1, 200, 4, 32)  # batch, length, heads, key width
k, v = normalize(k, dim=-1), torch.randn(1, 200, 4, 32)
g, beta = -torch.rand(1, 200, 4), torch.rand(1, 200, 4)  # g = log of the decay

loop = gated_delta_recurrent(q, k, v, g, beta)
one = gated_delta_parallel(q, k, v, g, beta)  # (4) and (5), the whole length as one chunk
print(f"one chunk differs by {(one - loop).abs().max().item():.0e}")
for size in (16, 64):
    o, _ = chunked(gated_delta_case(q, k, v, g, beta), chunk_size=size)
    print(f"chunks of {size} differ by {(o - loop).abs().max().item():.0e}")

# %% check
assert torch.allclose(one, loop)
assert torch.allclose(o, loop)
