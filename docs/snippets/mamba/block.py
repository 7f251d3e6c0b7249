# %% setup
import torch

from ssm_ref.selective.mamba import Mamba, MambaConfig

torch.manual_seed(0)

# %% shown
cfg = MambaConfig(d_model=64)
block = Mamba(cfg)
u = torch.randn(2, 100, 64)  # batch, length, model width

y = block(u)
print("out", tuple(y.shape), "inner width", cfg.d_inner, "rank of the step", cfg.rank)

# %% shown
state = block.allocate_state(batch=2)
print("state", {name: tuple(part.shape) for name, part in state._asdict().items()})
outs = []
for t in range(100):  # one token at a time, in constant memory
    out, state = block.step(u[:, t], state)
    outs.append(out)
print("step by step differs by", f"{(torch.stack(outs, dim=1) - y).abs().max().item():.0e}")

# %% check
assert torch.allclose(torch.stack(outs, dim=1), y, atol=1e-5)
