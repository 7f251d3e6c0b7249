# %% setup
import torch

from ssm_ref.structured.hippo import hippo, normal_plus_low_rank

torch.set_printoptions(precision=3, sci_mode=False)

# %% shown
A, B = hippo("legs", 4)
print(A)
P = torch.sqrt(torch.arange(4, dtype=torch.float64) + 0.5)
print("A + P Pᵀ + ½ I, skew:")
print(A + torch.outer(P, P) + torch.eye(4, dtype=torch.float64) / 2)
print("eigenvalues of the normal part:", normal_plus_low_rank("legs", 4).eigenvalues)

# %% check
S = A + torch.outer(P, P) + torch.eye(4, dtype=torch.float64) / 2
assert (S + S.T).abs().max() < 1e-12

# %% shown
for n in (4, 8, 16, 32):
    _, V = torch.linalg.eig(hippo("legs", n)[0])
    W = normal_plus_low_rank("legs", n).V
    of_a, of_normal = torch.linalg.cond(V), torch.linalg.cond(W)
    print(f"n = {n:2}: eigenvectors of A {of_a:.1e}, of its normal part {of_normal:.1f}")
