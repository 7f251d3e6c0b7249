# %% setup
import torch

from ssm_ref.recurrent.min_rnn import MinGRU, log_space_scan, weighted_mean

torch.manual_seed(0)

# %% shown
layer = MinGRU(d_in=8, d_model=16)
exact = MinGRU(d_in=8, d_model=16, scan=weighted_mean).double()  # the loop, in float64
exact.load_state_dict(layer.state_dict())

for length in (10, 100, 1000, 10_000):
    u = torch.randn(1, length, 8)
    want = exact(u.double())
    error = ((layer(u) - want) / want).abs().max()
    print(f"{length:>6} tokens: the scan in float32 is off by {error:.0e}")

# %% check
assert layer.scan is log_space_scan
assert error < 1e-2
