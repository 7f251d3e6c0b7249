# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.foundations.controllability import controllability_gramian

f64 = torch.float64
g = torch.Generator().manual_seed(0)

# %% shown
turn = torch.linspace(0, 2 * torch.pi, 200, dtype=f64)
circle = torch.stack([turn.cos(), turn.sin()])
B = torch.ones(2, 1, dtype=f64)
fig, axes = plt.subplots(1, 2, figsize=(6.5, 3.2), layout="constrained")
for ax, poles in zip(axes, ((0.9, -0.5), (0.9, 0.8)), strict=True):
    A = torch.diag(torch.tensor(poles, dtype=f64))
    W = controllability_gramian(A, B, discrete=True)
    ellipse = torch.linalg.cholesky(W) @ circle  # states that energy 1 just reaches

    powers = torch.stack([torch.linalg.matrix_power(A, k) @ B for k in range(60)])[..., 0]
    u = torch.randn(150, 60, dtype=f64, generator=g)
    x = u / u.norm(dim=1, keepdim=True) @ powers  # 150 inputs of energy 1
    ax.scatter(*x.T, s=4)
    ax.plot(*ellipse)
    title = f"eigenvalues {poles[0]} and {poles[1]}".replace("-", "−")
    ax.set(title=title, xlabel="x₁", ylabel="x₂")
    print(f"{poles}: the ellipse is {torch.linalg.cond(W) ** 0.5:.1f} times as long as wide")

# %% check
assert ((x @ torch.linalg.inv(W)) * x).sum(1).max() <= 1
