# %% setup
import torch

from ssm_ref.attention.transformer import AttentionConfig, Transformer, TransformerConfig

torch.manual_seed(0)

# %% shown
for window in (None, 64):
    attention = AttentionConfig(d_model=64, n_heads=4, n_kv_heads=2, window=window)
    model = Transformer(
        TransformerConfig(vocab_size=100, n_blocks=2, d_ff=128, attention=attention)
    )
    for length in (16, 256):
        ids = torch.randint(100, (1, length))
        _, state = model.prefill(ids, model.allocate_state(1))
        held = sum(cache.k.numel() + cache.v.numel() for cache in state if cache)
        print(f"window {window}: after {length} tokens the cache holds {held} numbers")

# %% check
assert held == 2 * 2 * 63 * 2 * 16  # layers · (k, v) · (w - 1) · heads · width
