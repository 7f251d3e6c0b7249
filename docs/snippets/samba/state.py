# %% setup
import matplotlib.pyplot as plt

from ssm_ref.attention.transformer import AttentionConfig
from ssm_ref.hybrid.samba import SambaConfig
from ssm_ref.selective.mamba import MambaConfig

# %% shown
d, tokens = 2048, [2**k for k in range(8, 18)]
fig, ax = plt.subplots(figsize=(6, 3))
for window in (512, 2048, 131_072):
    cfg = SambaConfig(
        vocab_size=32_000,
        n_blocks=12,
        d_ff=4 * d,
        attention=AttentionConfig(d_model=d, n_heads=16, n_kv_heads=4, window=window),
        mamba=MambaConfig(d_model=d),
    )
    kept = [cfg.state_numbers(t) / 1e6 for t in tokens]
    ax.loglog(tokens, kept, "o-", label=f"window {window:,}")
ax.set(xlabel="tokens read", ylabel="million numbers", title=f"State of {cfg.pattern[:8]}…")
ax.legend()
fig.tight_layout()

# %% check
assert kept[-1] > 20 * kept[0]
