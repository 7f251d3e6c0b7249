# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.selective.selective_scan import selective_scan

# %% shown
l, matter = 16, [3, 8]
A, B = -torch.ones(1, 1), torch.ones(l, l, 1)
x = torch.eye(l)[..., None]  # row t holds token t alone
chosen = torch.full((l,), 0.01)
chosen[matter] = 1.0
fig, axes = plt.subplots(2, 1, figsize=(6.4, 3.2), sharex=True)
for ax, dt, name in zip(
    axes,
    (chosen, torch.full((l,), 10**-0.5)),
    ("the token chooses Δ", "one Δ for all"),
    strict=True,
):
    h, _ = selective_scan(x, dt[None, :, None].expand(l, l, 1), A, B, B)
    left = h[:, -1, 0] / h[:, -1, 0].sum()  # what each token left in the last state
    ax.bar(range(1, l + 1), left, color=["C1" if t in matter else "C0" for t in range(l)])
    ax.set_title(f"{name}: {left[matter].sum():.0%} from tokens that matter")
axes[-1].set_xlabel("token")
fig.tight_layout()
print("share of the tokens that matter, one Δ for all:", f"{left[matter].sum():.4f}")

# %% check
assert left[matter].sum() < 0.1
