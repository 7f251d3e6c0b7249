# %% setup
import time

import torch

from ssm_ref.foundations.scan import (
    associative_scan,
    compose_affine,
    linear_recurrence,
    linear_scan,
)

torch.manual_seed(0)

# %% shown
a, u = torch.rand(1, 16_384, 16), torch.randn(1, 16_384, 16)  # b l d
ways = {
    "loop": lambda: linear_recurrence(a, u),
    "tree": lambda: associative_scan(compose_affine, (a, u), dim=1)[1],
    "chunks": lambda: linear_scan(a, u),
}
h = {name: way() for name, way in ways.items()}
print("largest difference from the loop:")
for name in ("tree", "chunks"):
    print(f"  {name:7}{(h[name] - h['loop']).abs().max():.1e}")

# %% check
for name in ("tree", "chunks"):
    torch.testing.assert_close(h[name], h["loop"])

# %% shown
for name, way in ways.items():
    start = time.perf_counter()
    way()
    print(f"{name:7}{1e3 * (time.perf_counter() - start):8.1f} ms")
