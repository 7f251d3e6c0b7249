# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.linear_attention.rwkv6 import rwkv6_recurrent

torch.manual_seed(0)

# %% shown
l = 32
one = torch.ones(1, l, 1, 1)  # batch, length, heads, key width
w = 0.97 * one
w[0, 12] = 0.1  # a token at which this channel forgets
# Column i of v is one at token i alone, so the answer is the weight of that token.
v = torch.eye(l)[None, :, None]

figure, axes = plt.subplots(1, 2, figsize=(6.5, 3), layout="constrained", sharey=True)
for ax, bonus in zip(axes, (0.3, 2.0), strict=True):
    weights = rwkv6_recurrent(one, one, v, w, torch.full((1, 1), bonus))[0, :, 0]
    drawn = ax.imshow(weights, vmin=0, vmax=2)
    ax.set(title=f"u = {bonus}", xlabel="token heard")
axes[0].set_ylabel("token that answers")
figure.suptitle("One token forgets; on the diagonal stands u")
figure.colorbar(drawn, ax=axes, label="weight")
plt.show()

# %% check
assert torch.allclose(weights.diagonal(), torch.tensor(2.0))
assert torch.allclose(weights.diagonal(-1), torch.tensor(1.0))
