# %% setup
import torch

from ssm_ref.attention.transformer import rotate

torch.manual_seed(0)

# %% shown
q, k = torch.randn(2, 1, 1, 1, 64)
scores = [(rotate(q, start + 7, 10_000) * rotate(k, start, 10_000)).sum() for start in (0, 10, 500)]
print("q seven places after k, wherever they stand:", [round(float(s), 3) for s in scores])

# %% check
assert torch.allclose(torch.stack(scores), scores[0], atol=1e-3)
