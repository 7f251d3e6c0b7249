# %% setup
import torch

from ssm_ref.vision.vmamba import VMamba, VMambaConfig

# %% shown
for size in ("tiny", "small", "base"):
    with torch.device("meta"):  # shapes alone, no memory
        model = VMamba(VMambaConfig.published(size))
        maps = model.features(torch.empty(1, 3, 224, 224))
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    shapes = ", ".join(f"{m.shape[1]}×{m.shape[2]}×{m.shape[3]}" for m in maps)
    print(f"VMamba {size:<5} {millions:4.1f} million parameters, maps {shapes}")

# %% check
assert round(millions) == 89
