# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.foundations.discretization import discretize
from ssm_ref.foundations.realization import balanced_truncation, hankel_singular_values
from ssm_ref.foundations.state_space import LinearSystem, markov_parameters
from ssm_ref.structured.hippo import hippo

# %% shown
A, B = hippo("legs", 32)
A_bar, B_bar, _ = discretize(A, B[:, None], 0.02)
C = torch.ones(1, 32, dtype=torch.float64)
system = LinearSystem(A_bar, B_bar, C, torch.zeros(1, 1, dtype=torch.float64))
sigma = hankel_singular_values(system)

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
left.semilogy(range(1, 33), sigma / sigma[0], ".-")
left.set(xlabel="i", title="Hankel singular values, scaled")
right.plot(markov_parameters(system, 150)[:, 0, 0], label="32 states", lw=3, alpha=0.4)
for r in (4, 10):
    reduced = balanced_truncation(system, r)
    right.plot(markov_parameters(reduced, 150)[:, 0, 0], label=f"{r} states")
right.set(xlabel="tap", title="kernel of LegS and of less")
right.legend()
fig.tight_layout()

# %% check
reduced = balanced_truncation(system, 10)
error = markov_parameters(reduced, 150) - markov_parameters(system, 150)
assert error.abs().max() <= 2 * sigma[10:].sum()
