# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.genomics.caduceus import Caduceus, CaduceusConfig
from ssm_ref.genomics.nucleotides import complement_map, decode, encode, reverse_complement

torch.manual_seed(0)


def loud(strands):
    """An untrained model whose answers differ visibly from letter to letter."""
    torch.manual_seed(0)
    model = Caduceus(CaduceusConfig(d_model=16, n_layer=2, d_state=4, strands=strands)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


# %% shown
x = encode("ATGGCNTTACGATGCATTGA")[None]
y = reverse_complement(x)
print(decode(x[0]), "\n" + decode(y[0]))

kappa = complement_map(16)
fig, axes = plt.subplots(2, 2, figsize=(6.5, 2.9), sharex=True, sharey=True)
for row, strands in zip(axes, ("sharing", "one"), strict=True):
    with torch.no_grad():
        ours, theirs = loud(strands)(x), loud(strands)(y)
    aligned = theirs.flip(1)[..., kappa]  # the other strand's answers, in our order and letters
    print(f"{strands:8} largest difference {float((ours - aligned).abs().max()):.0e}")
    for ax, logits, name in zip(row, (ours, aligned), ("strand", "other strand"), strict=True):
        ax.imshow(logits[0, :, 7:11].softmax(-1).mT, aspect="auto", vmin=0, vmax=1, cmap="cividis")
        ax.set(yticks=range(4), yticklabels="ACGT", title=f"{strands}: {name}")
for ax in axes[1]:
    ax.set(xticks=range(x.shape[1]), xticklabels=decode(x[0]))
fig.tight_layout()

# %% check
assert (ours - aligned).abs().max() > 0.1
with torch.no_grad():
    shared = loud("sharing")
    assert (shared(x) - shared(y).flip(1)[..., kappa]).abs().max() < 1e-4
