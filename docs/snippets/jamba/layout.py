# %% setup
import torch

from ssm_ref.attention.transformer import AttentionConfig, KVCache
from ssm_ref.hybrid.jamba import Jamba, JambaConfig
from ssm_ref.selective.mamba import MambaConfig

torch.manual_seed(0)

# %% shown
cfg = JambaConfig(
    vocab_size=100,
    n_blocks=8,
    d_ff=64,
    attention=AttentionConfig(d_model=32, n_heads=4, n_kv_heads=2, rope_base=None),
    mamba=MambaConfig(d_model=32, ssm_norm="learned"),
    n_experts=4,
)
print("mixers          ", cfg.pattern[0::2])
print("channel mixers  ", cfg.pattern[1::2])

model = Jamba(cfg)
for length in (10, 1000):
    ids = torch.randint(100, (1, length))
    _, state = model.prefill(ids, model.allocate_state(1))
    caches = [part for part in state if isinstance(part, KVCache)]
    others = [part for part in state if part is not None and not isinstance(part, KVCache)]
    grows = sum(t.numel() for cache in caches for t in (cache.k, cache.v))
    constant = sum(t.numel() for part in others for t in part)
    print(f"after {length:>4} tokens: KV cache {grows:>6} numbers, states {constant}")

# %% check
assert len(caches) == 1
assert len(others) == 7
