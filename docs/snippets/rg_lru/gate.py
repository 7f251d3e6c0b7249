# %% setup
import torch

from ssm_ref.recurrent.rg_lru import RGLRU

torch.manual_seed(0)

# %% shown
lru = RGLRU(width=1, n_heads=1).requires_grad_(False)
lru.recurrence_gate.weight.zero_()
remembered = torch.ones(1, 1)
silence = torch.zeros(1, 1000, 1)

for r in (1.0, 0.5, 0.1, 0.01):  # how far the recurrence gate is open
    lru.recurrence_gate.bias.fill_(torch.logit(torch.tensor(r), eps=1e-7))
    h = lru(silence, remembered)[0, :, 0]
    half = int((h > 0.5).sum())
    print(f"gate {r:<5} decay {h[0]:.4f} per step, half is left after {half} steps")

# %% check
assert h[0] > 0.99
