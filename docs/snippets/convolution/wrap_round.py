# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.foundations.convolution import cyclic_convolution, direct_convolution

# %% shown
l = 64
u = torch.zeros(1, l, 1)
u[0, 40:60] = 1.0  # the input starts late
K = (0.95 ** torch.arange(l))[None]  # a slow exponential kernel
want = direct_convolution(u, K)[0, :, 0]
fig, ax = plt.subplots(figsize=(6.5, 3))
ax.plot(want, label="causal convolution")
ax.plot(cyclic_convolution(u, K, 2 * l)[0, :l, 0], "--", label="FFT of length 2L")
ax.plot(cyclic_convolution(u, K, l)[0, :, 0], ":", label="FFT of length L: the end wraps round")
ax.set(xlabel="k", ylabel="y", title="Without padding the end comes in at the start")
ax.legend()
fig.tight_layout()

# %% check
torch.testing.assert_close(cyclic_convolution(u, K, 2 * l)[0, :l, 0], want)
assert (cyclic_convolution(u, K, l)[0, :, 0] - want).abs().max() > 0.3 * want.max()
