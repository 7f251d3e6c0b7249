# %% setup
import torch

from ssm_ref.hybrid.hymba import Hymba, HymbaConfig
from ssm_ref.selective.mamba import MambaConfig

torch.manual_seed(0)

# %% shown
mamba = MambaConfig(d_model=32, d_conv=3)
cfg = HymbaConfig(
    vocab_size=100, n_blocks=6, d_ff=64, mamba=mamba, n_heads=4, n_kv_heads=2, window=16, n_meta=8
)
for block in range(cfg.n_blocks):
    reach = "global" if cfg.is_global(block) else f"window {cfg.window}"
    print(
        f"block {block}: {reach}, keys {'of the block before' if cfg.borrows(block) else 'its own'}"
    )

model = Hymba(cfg)
ids = torch.randint(100, (1, 50))
logits, _ = model.prefill(ids, model.allocate_state(1))
print("prefill:", tuple(logits.shape))

# %% check
assert cfg.is_global(0)
assert cfg.is_global(5)
