# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.hybrid.nemotron_h import PATTERN_8B, NemotronH, published_config


def beads(pattern, names):
    """The layers in their order, a row of marks for each kind."""
    figure, axis = plt.subplots(figsize=(6.5, 1.9), layout="constrained")
    for row, (letter, marker) in enumerate(zip(names, "osD", strict=True)):
        at = [i + 1 for i, kind in enumerate(pattern) if kind == letter]
        axis.plot(at, [row] * len(at), marker, color=f"C{row}")
    axis.set_yticks(range(len(names)), list(names.values()))
    axis.set_ylim(2.6, -0.6)
    axis.set_xlabel("layer")
    return figure


# %% shown
print(PATTERN_8B)
cfg = published_config()
with torch.device("meta"):  # shapes alone, no memory
    model = NemotronH(cfg)
names = {"M": "Mamba-2", "-": "MLP", "*": "attention"}
total = sum(p.numel() for p in model.parameters())
for letter, name in names.items():
    layers = [b for kind, b in zip(cfg.pattern, model.blocks, strict=True) if kind == letter]
    share = sum(p.numel() for layer in layers for p in layer.parameters()) / total
    print(f"{len(layers):>2} × {name:<9} {share:.0%} of {total / 1e9:.1f} billion parameters")

grows = 2 * cfg.attention.kv_heads * cfg.attention.head_width * 4
print(f"each token adds {grows:,} numbers to the cache of the four attention layers")
beads(PATTERN_8B, names)

# %% check
assert len(PATTERN_8B) == 52
assert grows == 8192
