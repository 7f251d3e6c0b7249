# %% setup
import torch

from ssm_ref.selective.ssd import ssd, ssd_chunked, ssd_quadratic

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)

# %% shown
b, l, h, p, g, n = 1, 100, 4, 16, 2, 8
x, dt = torch.randn(b, l, h, p), torch.rand(b, l, h)
A = -torch.rand(h)  # one number a head
B, C = torch.randn(b, l, g, n), torch.randn(b, l, g, n)

y, state = ssd(x, dt, A, B, C)  # the definition, a loop
print("y", tuple(y.shape), "state", tuple(state.shape))
matrix, _ = ssd_quadratic(x, dt, A, B, C)
print(f"matrix differs by {(matrix - y).abs().max().item():.0e}")
for size in (1, 16, 100):
    chunked, _ = ssd_chunked(x, dt, A, B, C, chunk_size=size)
    print(f"chunks of {size:>3} differ by {(chunked - y).abs().max().item():.0e}")

# %% check
for other in (matrix, chunked):
    assert torch.allclose(other, y)
