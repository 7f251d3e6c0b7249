# %% setup
import torch

from ssm_ref.foundations.controllability import (
    controllability_gramian,
    controllability_matrix,
    is_controllable,
)

f64 = torch.float64
torch.set_printoptions(precision=3, sci_mode=False)

# %% shown
A = torch.diag(torch.tensor([0.9, 0.5, 0.2], dtype=f64))
for b in ([1.0, 1.0, 1.0], [1.0, 0.0, 1.0]):
    B = torch.tensor(b, dtype=f64)[:, None]
    rank = int(torch.linalg.matrix_rank(controllability_matrix(A, B)))
    print(f"b = {b}: rank {rank} of 3, controllable: {is_controllable(A, B)}")

B = torch.ones(3, 1, dtype=f64)
W = controllability_gramian(A, B, discrete=True)
cost = torch.linalg.inv(W).diagonal()  # energy needed to reach each unit vector
print("energy to reach x1, x2, x3:", cost)

# %% check
assert is_controllable(A, B)
B[1] = 0
assert not is_controllable(A, B)
