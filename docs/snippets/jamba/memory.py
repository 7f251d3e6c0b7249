# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.attention.transformer import AttentionConfig, KVCache
from ssm_ref.hybrid.jamba import Jamba, JambaConfig
from ssm_ref.selective.mamba import MambaConfig

# %% shown
LAYERS = 32  # Jamba-v0.1: width 4096, 32 heads, 8 of keys, all in two bytes


def kept(attention_layers, tokens):
    """Bytes between two tokens of one sequence."""
    keys = 2 * 8 * 128 * tokens  # numbers a layer of attention keeps
    state = 8192 * (16 + 3)  # and a layer of Mamba: h and the tail of the convolution
    return 2 * (attention_layers * keys + (LAYERS - attention_layers) * state)


lengths = torch.logspace(2, 18, 100, base=2)
fig, ax = plt.subplots(figsize=(6.5, 3))
for layers, label in ((32, "all attention"), (4, "Jamba: 4 of 32"), (0, "all Mamba")):
    ax.loglog(lengths, [kept(layers, l) / 2**30 for l in lengths.tolist()], label=label)
    print(f"{label:15} at 262,144 tokens: {kept(layers, 2**18) / 2**30:6.2f} GiB")
ax.set(xlabel="tokens read", ylabel="GiB per sequence", title="What one sequence takes")
ax.legend()
fig.tight_layout()

# %% check
with torch.device("meta"):  # the same count from the model itself, one period of it
    attention = AttentionConfig(d_model=4096, n_heads=32, n_kv_heads=8, rope_base=None)
    mamba = MambaConfig(d_model=4096, ssm_norm="learned")
    cfg = JambaConfig(vocab_size=8, n_blocks=8, d_ff=64, attention=attention, mamba=mamba)
    state = Jamba(cfg).allocate_state(1)
parts = [p for p in state if p is not None and not isinstance(p, KVCache)]
assert len(parts) == 7
assert sum(t.numel() for part in parts for t in part) == 7 * 8192 * 19
