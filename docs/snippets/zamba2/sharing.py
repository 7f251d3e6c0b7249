# %% setup
import torch

from ssm_ref.hybrid.zamba2 import Zamba2, published_config

# %% shown
with torch.device("meta"):  # shapes alone, no memory
    model = Zamba2(published_config())


def millions(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


adapters = sum(millions(m) for name, m in model.named_modules() if name.endswith("adapters"))
shared = millions(model.shared) - adapters
print(f"54 Mamba-2 layers       {millions(model.layers):7.0f} million")
print(f"2 shared blocks         {shared:7.0f}")
print(f"9 calls: adapters       {adapters:7.0f}")
print(f"9 calls: output maps    {millions(model.links):7.0f}")
unshared = millions(model) + 7 / 2 * shared
print(
    f"the model               {millions(model):7.0f}, with nine blocks of their own {unshared:.0f}"
)

# %% check
assert round(millions(model) / 1000, 1) == 2.7
