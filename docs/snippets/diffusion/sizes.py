# %% setup
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssm_ref.vision.dis import PUBLISHED, DiS, DiSConfig

# %% shown
with torch.device("meta"):  # shapes alone, no memory
    for size in PUBLISHED:
        model = DiS(DiSConfig.published(size))
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        print(f"DiS-{size}: {len(model.layers)} layers, {millions:5.1f} million parameters")

    print("patches  billions of operations in DiS-S around its scans")
    for side in (32, 64, 128):
        net = DiS(DiSConfig.published("S", image=(side, side)), scan=lambda x, *_, **__: (x, None))
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 4, side, side), torch.empty(1, dtype=int), torch.empty(1, dtype=int))
        print(f"{(side // 2) ** 2:7}  {counter.get_total_flops() / 1e9:.1f}")

# %% check
assert round(millions) == 907
