# %% setup
import torch

from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config
from ssm_ref.training import sharding
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.sequence_split import bytes_sent

# %% shown
NODES, GPUS = 4, 8  # a sequence inside a node, rows of the batch between nodes
cfg = Mamba2Config(d_model=2560)  # the layer of Mamba-2 2.7B
with torch.device("meta"):
    parameters = sum(p.numel() for p in Mamba2(cfg).parameters())
part = Ranks(0, GPUS)
state = 4 * cfg.n_heads * cfg.d_head * cfg.d_state
halo = 4 * (cfg.d_conv - 1) * cfg.d_xBC
states = 2 * bytes_sent(part, halo=halo, state=state, decay=4 * cfg.n_heads)  # there and back

print(f"{parameters:,} parameters in a layer, {NODES} × {GPUS} ranks")
print("MiB that a rank sends per step and layer:")
for name, sent in {
    "states of one sequence, (3) there and back": states,
    "parameters in parts (FSDP2), (6)": sharding.bytes_sent(parameters, 0, NODES * GPUS),
    "gradients averaged (DDP)": sharding.bytes_sent(0, parameters, NODES * GPUS),
}.items():
    print(f"  {name:44}{sent / 2**20:8.1f}")
kept = {"DDP": 16 * parameters, "FSDP2": 16 * parameters / (NODES * GPUS)}
print("MiB that a rank keeps of it:", {name: round(size / 2**20, 1) for name, size in kept.items()})

# %% check
assert states < sharding.bytes_sent(0, parameters, NODES * GPUS)
