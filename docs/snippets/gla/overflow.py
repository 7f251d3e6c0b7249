# %% setup
import torch

from ssm_ref.linear_attention.gla import gla_case, gla_parallel, gla_recurrent
from ssm_ref.linear_attention.recurrence import chunked

torch.manual_seed(0)

# %% shown
q, k, v = torch.randn(3, 1, 64, 2, 8)  # float32: batch, length, heads, width
print("decay   the written form (4)   chunks")
for alpha in (0.99, 0.5, 0.2, 0.05):
    g = torch.full_like(q, alpha).log()
    want = gla_recurrent(*(x.double() for x in (q, k, v, g)))
    forms = (gla_parallel(q, k, v, g), chunked(gla_case(q, k, v, g))[0])
    written, chunks = (((o - want).norm() / want.norm()).item() for o in forms)
    print(f"{alpha:<8}{written:<23.0e}{chunks:.0e}")

# %% check
assert chunks < 1e-6
assert not written < 1e-6
