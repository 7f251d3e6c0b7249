# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.recurrent.rnn import RNN

torch.manual_seed(0)

# %% shown
steps, d = 50, 32
fig, ax = plt.subplots(figsize=(6.5, 3))
for scale in (0.5, 0.9, 1.5):
    layer = RNN(4, d)
    with torch.no_grad():  # U = scale × an orthogonal matrix
        layer.weight_hh.copy_(scale * torch.linalg.qr(torch.randn(d, d))[0])
        y = layer(0.1 * torch.randn(1, steps, 4))[0]
        J, norms = torch.eye(d), [1.0]
        for h in y:
            J = (1 - h**2)[:, None] * layer.weight_hh @ J  # Eq. (2), k times
            norms.append(torch.linalg.matrix_norm(J, ord=2).item())
    (line,) = ax.semilogy(norms, label=f"U = {scale} · Q")
    ax.semilogy([scale**k for k in range(steps + 1)], ":", color=line.get_color())
    print(f"U = {scale} · Q: gradient through {steps} steps has norm {norms[-1]:.1e}")
ax.set(xlabel="steps back", ylabel="norm of the gradient", ylim=(1e-16, 1e3))
ax.set_title("A gradient on its way back")
ax.legend(title="dotted: scale to the power k")
fig.tight_layout()

# %% check
assert norms[-1] < 1.5**steps
