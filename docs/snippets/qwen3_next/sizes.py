# %% setup
import torch

from ssm_ref.hybrid.qwen3_next import Qwen3Next, published_config

# %% shown
cfg = published_config()
with torch.device("meta"):  # shapes alone, no memory
    model = Qwen3Next(cfg)
print(cfg.pattern[:16], "and so on,", cfg.n_blocks, "blocks")

total = sum(p.numel() for p in model.parameters())
one = 3 * cfg.experts.d_model * cfg.experts.d_ff
idle = cfg.n_blocks * (cfg.experts.n_experts - cfg.experts.top_k) * one
print(f"{total / 1e9:.1f} billion parameters, {(total - idle) / 1e9:.1f} for one token")

h, n, p = cfg.delta.state_shape
a = cfg.attention
print(f"36 layers keep {36 * h * n * p / 1e6:.1f} million numbers, whatever the length;")
print(f"12 layers add {12 * 2 * a.n_kv_heads * a.d_head:,} numbers with every token")

# %% check
assert round(total / 1e9) == 80
