# %% setup
import torch

from ssm_ref.foundations.convolution import (
    DiagonalSystem,
    kernel,
    run_convolution,
    run_recurrence,
    run_scan,
)

torch.manual_seed(0)

# %% shown
d, n, l = 8, 4, 2048
system = DiagonalSystem(
    A_bar=0.9 + 0.099 * torch.rand(d, n),
    B_bar=torch.randn(d, n),
    C=torch.randn(d, n),
    D=torch.ones(d),
)
u = torch.randn(1, l, d)  # b l d
y, h = run_recurrence(system, u)
for mode in (run_convolution, run_scan):
    y_mode, h_mode = mode(system, u)
    in_y, in_h = (y_mode - y).abs().max(), (h_mode - h).abs().max()
    print(f"{mode.__name__:16} largest difference: output {in_y:.0e}, state {in_h:.0e}")
print("kernel:", tuple(kernel(system, l).shape), " state:", tuple(h.shape))

# %% check
for mode in (run_convolution, run_scan):
    torch.testing.assert_close(mode(system, u)[0], y, rtol=1e-3, atol=1e-3)
