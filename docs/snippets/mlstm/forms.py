# %% setup
import torch

from ssm_ref.linear_attention.mlstm import (
    mlstm_case,
    mlstm_parallel,
    mlstm_recurrent,
    normalised,
)
from ssm_ref.linear_attention.recurrence import chunked

torch.manual_seed(0)

# %% shown
q, k, v = torch.randn(3, 1, 300, 4, 32, dtype=torch.float64)  # batch, length, heads, width
f = 3 + torch.randn(1, 300, 4, dtype=torch.float64)
for scale in (1, 10, 100):  # exp of the largest input gate does not fit into float32
    i = scale * torch.randn(1, 300, 4, dtype=torch.float64)
    want = mlstm_recurrent(q, k, v, i, f)
    matrix = mlstm_parallel(q, k, v, i, f)
    case, m = mlstm_case(*(x.float() for x in (q, k, v, i, f)), torch.zeros(1, 4))
    chunks = normalised(chunked(case)[0], m)
    differ = [((h - want).norm() / want.norm()).item() for h in (matrix, chunks)]
    print(f"largest gate {i.max():4.0f}: matrix {differ[0]:.0e}, chunks in float32 {differ[1]:.0e}")

# %% check
assert differ[0] < 1e-9
assert differ[1] < 1e-3
