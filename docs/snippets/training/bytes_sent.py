# %% setup
from ssm_ref.selective.mamba2 import Mamba2Config
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.sequence_split import bytes_sent

# %% shown
cfg = Mamba2Config(d_model=2560)  # the layer of Mamba-2 2.7B, one sequence, float32
state = 4 * cfg.n_heads * cfg.d_head * cfg.d_state
decay = 4 * cfg.n_heads
halo = 4 * (cfg.d_conv - 1) * cfg.d_xBC

print("ranks   MiB that rank 0 sends in a layer, forward")
for size in (2, 4, 8, 64):
    sent = bytes_sent(Ranks(0, size), halo=halo, state=state, decay=decay)
    print(f"{size:5}   {sent / 2**20:5.2f}, whatever the length")

print("\nkeys and values of an attention layer as wide, for a rank's part in bfloat16:")
for tokens in (2_048, 65_536):
    print(f"{tokens:6} tokens a rank: {2 * 2 * 2560 * tokens / 2**20:6.1f} MiB to every other rank")

# %% check
assert bytes_sent(Ranks(1, 2), halo=halo, state=state, decay=decay) == 0
assert bytes_sent(Ranks(0, 2), halo=halo, state=state, decay=decay) == halo + 2 * state
