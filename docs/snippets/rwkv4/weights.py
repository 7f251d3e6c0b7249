# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.linear_attention.rwkv4 import empty_wkv, wkv_recurrent

torch.manual_seed(0)

# %% shown
l = 32
keys = torch.randn(1, l, 1)
keys[0, 10] = 4.0  # one token votes loudly
fig, axes = plt.subplots(1, 2, figsize=(6.5, 3), layout="constrained", sharey=True)
for ax, decay in zip(axes, (0.02, 0.5), strict=True):
    # Column i of v is one at token i alone, so the answer is the weight of that token.
    k, v = keys.expand(1, l, l), torch.eye(l)[None]
    weights, _ = wkv_recurrent(k, v, torch.full((l,), decay), torch.zeros(l), empty_wkv(k[:, 0]))
    drawn = ax.imshow(weights[0], vmin=0, vmax=1)
    ax.set(title=f"w = {decay}", xlabel="token heard")
axes[0].set_ylabel("token that answers")
fig.suptitle("Who hears the loud vote of token 10")
fig.colorbar(drawn, ax=axes, label="weight")

# %% check
torch.testing.assert_close(weights.sum(-1), torch.ones(1, l))
