# %% setup
import torch

from ssm_ref.attention.transformer import AttentionConfig
from ssm_ref.hybrid.falcon_h1 import FalconH1Config, FalconH1Mixer, Multipliers, WideMamba2Config

torch.manual_seed(0)

# %% shown
cfg = FalconH1Config(
    vocab_size=100,
    n_blocks=1,
    d_ff=128,
    attention=AttentionConfig(d_model=64, n_heads=4, n_kv_heads=2),
    mamba=WideMamba2Config(d_model=64, d_ssm=96, d_state=32, d_head=16),
    multipliers=Multipliers(attention_out=0.5),
)
mixer = FalconH1Mixer(cfg)
u = torch.randn(1, 20, 64)
added = mixer.mamba(u) + 0.5 * mixer.attention(u)
print("one mixer is the weighted sum of two:", torch.allclose(mixer(u), added, atol=1e-6))
for name in ("mamba", "attention"):
    weights = sum(p.numel() for p in getattr(mixer, name).parameters())
    print(f"{name:<9} {weights:>6} weights")

# %% check
assert torch.allclose(mixer(u), added, atol=1e-6)
