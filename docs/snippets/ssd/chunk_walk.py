# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.selective.ssd import segsum, ssd, ssd_chunked

# %% shown
l, c = 16, 4
t = torch.arange(l, dtype=torch.float64)
a = -(10**-0.8) * (1 + t.sin())
L = segsum(a).exp()
own = t[:, None] // c == t[None, :] // c  # computed cell by cell; the rest through states
fig, ax = plt.subplots(figsize=(3.6, 3.4))
for cells, colours in ((own, "Blues"), (~own, "Oranges")):
    shown = torch.where(cells & (L > 0), 0.15 + 0.85 * L, torch.nan)
    ax.imshow(shown, cmap=colours, vmin=0, vmax=1.3)
ax.set(xlabel="written by", ylabel="read by", title="own cells; the rest by state")
fig.tight_layout()

x, B = (0.7 * t).cos()[None, :, None, None], torch.stack([t.cos(), t.sin()], -1)[None, :, None]
C = torch.stack([torch.ones(l), (t / 2).sin()], -1)[None, :, None]
dt, A = -a[None, :, None], -torch.ones(1, dtype=torch.float64)
whole, _ = ssd(x / dt[..., None], dt, A, B, C)
chunked, _ = ssd_chunked(x / dt[..., None], dt, A, B, C, chunk_size=c)
print(f"chunks against the loop: {(whole - chunked).abs().max():.0e}")

# %% check
assert (whole - chunked).abs().max() < 1e-12
