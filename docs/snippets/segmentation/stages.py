# snippet: timeout=240
# %% setup
import torch

from ssm_ref.vision.segmentation import VMUNet, VMUNetConfig

# %% shown
with torch.device("meta"):  # shapes alone, no memory
    model = VMUNet(VMUNetConfig())
    x = model.patch_embed(torch.empty(1, 3, 256, 256)).permute(0, 2, 3, 1)
    logits = model(torch.empty(1, 3, 256, 256))

h, w, m = x.shape[1:]
for i, (down, up) in enumerate(zip(model.encoder, model.decoder, strict=True)):
    size = f"{h >> i:2} × {w >> i:2} × {m << i:3}"
    print(f"stage {i + 1}: {size}, {len(down)} blocks down, {len(up)} up")
print("logits: ", tuple(logits.shape))
print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters")

# %% check
assert logits.shape == (1, 256, 256, 1)
