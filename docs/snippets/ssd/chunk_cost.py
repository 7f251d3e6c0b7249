# %% setup
import matplotlib.pyplot as plt
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssm_ref.selective.ssd import ssd_chunked

# %% shown
l, h, p, n = 4096, 2, 64, 128  # length, heads, head width, state
x, dt = torch.empty(1, l, h, p, device="meta"), torch.empty(1, l, h, device="meta")
A, B = torch.empty(h, device="meta"), torch.empty(1, l, h, n, device="meta")

chunks = [2**k for k in range(4, 13)]
counted = []
for c in chunks:
    with FlopCounterMode(display=False) as counter:
        ssd_chunked(x, dt, A, B, B, chunk_size=c)
    counted.append(counter.get_total_flops() / (l * h))
formula = [2 * c * (n + p) + 4 * n * p for c in chunks]

fig, ax = plt.subplots(figsize=(6.5, 3))
ax.loglog(chunks, counted, "o", label="counted by PyTorch")
ax.loglog(chunks, formula, label="$2c(n + p) + 4np$")
ax.axhline(4 * n * p, linestyle=":", color="gray")
ax.set(xlabel="chunk c", ylabel="operations per token and head", title="The price of a chunk")
ax.legend()
fig.tight_layout()
for c, got, want in zip(chunks[2:6], counted[2:6], formula[2:6], strict=True):
    print(f"c = {c:4}: counted {got:9,.0f}, formula {want:9,.0f}")

# %% check
assert all(0.8 < got / want < 1.3 for got, want in zip(counted, formula, strict=True))
