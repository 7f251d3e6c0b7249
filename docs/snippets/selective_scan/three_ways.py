# %% setup
import torch

from ssm_ref.selective.selective_scan import (
    selective_scan,
    selective_scan_associative,
    selective_scan_chunked,
)

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)

# %% shown
b, l, d, n = 2, 77, 8, 4  # batch, length, channels, state
x, dt = torch.randn(b, l, d), torch.rand(b, l, d)
A = -torch.rand(d, n)
B, C = torch.randn(b, l, n), torch.randn(b, l, n)

y, state = selective_scan(x, dt, A, B, C)  # the definition, a loop
print("loop: y", tuple(y.shape), "state", tuple(state.shape))
tree, _ = selective_scan_associative(x, dt, A, B, C)
print(f"tree of pairs differs by {(tree - y).abs().max().item():.0e}")
for size in (1, 7, 100):
    chunked, _ = selective_scan_chunked(x, dt, A, B, C, chunk_size=size)
    print(f"chunks of {size:>3} differ by {(chunked - y).abs().max().item():.0e}")

# %% shown
first, state = selective_scan(x[:, :30], dt[:, :30], A, B[:, :30], C[:, :30])
second, _ = selective_scan(x[:, 30:], dt[:, 30:], A, B[:, 30:], C[:, 30:], initial_state=state)
joined = torch.cat([first, second], dim=1)
print(f"cut after 30 tokens, the state handed over: {(joined - y).abs().max().item():.0e}")

# %% check
for other in (tree, chunked, joined):
    assert torch.allclose(other, y)
