# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.foundations.lqr import lqr_gain, solve_riccati

f64 = torch.float64

# %% shown
A = torch.tensor([[1.0, 0.1], [0.5, 1.0]], dtype=f64)  # angle and speed of a pole that falls
B = torch.tensor([[0.0], [0.1]], dtype=f64)
Q = torch.diag(torch.tensor([1.0, 0.1], dtype=f64))
fig, ax = plt.subplots(figsize=(6.5, 3))
for price in (0.01, 1.0, 100.0):
    R = torch.tensor([[price]], dtype=f64)
    K = lqr_gain(solve_riccati(A, B, Q, R), A, B, R)
    radius = torch.linalg.eigvals(A - B @ K).abs().max()
    x, angles = torch.tensor([1.0, 0.0], dtype=f64), []
    for _ in range(60):
        angles.append(x[0])
        x = (A - B @ K) @ x
    ax.plot(torch.stack(angles), label=f"price of effort {price}: |λ| = {radius:.2f}")
    assert radius < 1
ax.set(xlabel="k", ylabel="angle", title="Cheap effort rights the pole faster")
ax.legend()
fig.tight_layout()
print("without feedback |λ| =", round(torch.linalg.eigvals(A).abs().max().item(), 2))
