# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.structured.s4d import initial_A

# %% shown
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
t = torch.linspace(0, 2, 400, dtype=torch.float64)
for init in ("lin", "inv", "legs"):
    A = initial_A(init, 64)
    left.semilogy(A.imag[1:].sort().values, ".-", ms=4, label=init)
    response = 2 * torch.exp(A[:, None] * t).real.sum(0)  # all C = B = 1
    right.plot(t, response / response.max(), label=init, lw=1)
left.set(xlabel="state, sorted", ylabel="frequency Im A", title="32 stored states")
right.set(xlabel="t", title="their sum, scaled")
left.legend()
fig.tight_layout()

# %% check
assert (initial_A("legs", 64).real + 0.5).abs().max() < 1e-9
