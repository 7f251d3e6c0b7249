# %% setup
import torch

from ssm_ref.foundations.realization import ho_kalman
from ssm_ref.foundations.state_space import markov_parameters

# %% shown
k = torch.arange(40, dtype=torch.float64)
K = (0.9**k * torch.cos(0.5 * k))[:, None, None]  # 40 taps, l p m
system = ho_kalman(K, 2)
print("eigenvalues:", torch.linalg.eigvals(system.A))
print("0.9 e^(±0.5i) =", 0.9 * torch.exp(torch.tensor(0.5j, dtype=torch.complex128)))
longer = markov_parameters(system, 200)
k = torch.arange(200, dtype=torch.float64)
true = 0.9**k * torch.cos(0.5 * k)
print(f"200 taps from 40: largest error {(longer[:, 0, 0] - true).abs().max():.0e}")

# %% check
torch.testing.assert_close(longer[:40], K)
