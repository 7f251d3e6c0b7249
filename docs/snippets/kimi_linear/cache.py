# %% setup
import torch

from ssm_ref.hybrid.kimi_linear import LatentAttention, LatentAttentionConfig

torch.manual_seed(0)

# %% shown
for heads in (4, 32):
    cfg = LatentAttentionConfig(
        d_model=256, n_heads=heads, rank=64, d_shared=16, d_key=32, d_value=32
    )
    layer = LatentAttention(cfg)
    _, cache = layer.prefill(torch.randn(1, 100, 256), layer.allocate_state(1))
    kept = sum(part.numel() for part in cache)
    plain = 100 * heads * (cfg.d_key + cfg.d_shared + cfg.d_value)
    print(f"{heads:>2} heads, 100 tokens: latent cache {kept}, keys and values {plain}")

# %% check
assert kept == 100 * (64 + 16)
