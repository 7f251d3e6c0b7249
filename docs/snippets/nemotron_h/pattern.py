# %% setup
import torch

from ssm_ref.hybrid.nemotron_h import PATTERN_8B, NemotronH, published_config

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

# %% check
assert len(PATTERN_8B) == 52
assert grows == 8192
