# %% setup
import torch

from ssm_ref.vision.vision_mamba import VisionMamba, VisionMambaConfig

torch.manual_seed(0)

# %% shown
cfg = VisionMambaConfig(image=(32, 32), patch=(4, 4), d_model=48, n_layer=4, n_classes=10)
model = VisionMamba(cfg)
image = torch.randn(2, 3, 32, 32)
print("patches", cfg.grid, "class token at", cfg.middle)
print("tokens", tuple(model.tokens(image).shape))
print("logits", tuple(model(image).shape))

# %% shown
for size in ("tiny", "small", "base"):
    with torch.device("meta"):  # sizes without memory
        published = VisionMamba(VisionMambaConfig.published(size))
    print(f"Vim-{size}: {sum(p.numel() for p in published.parameters()) / 1e6:.1f} M parameters")

# %% check
assert model(image).shape == (2, 10)
