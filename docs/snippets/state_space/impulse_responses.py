# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.foundations.state_space import LinearSystem, impulse_response

t = torch.linspace(0, 12, 400, dtype=torch.float64)


def oscillator(decay, frequency):
    """Two real states whose eigenvalues are -decay ± i·frequency."""
    A = torch.tensor([[-decay, -frequency], [frequency, -decay]], dtype=torch.float64)
    B = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    return LinearSystem(A, B, B.T, torch.zeros(1, 1, dtype=torch.float64))


# %% shown
fig, ax = plt.subplots(figsize=(6.5, 3.2))
for decay, frequency in ((0.2, 0.0), (1.0, 0.0), (0.2, 3.0), (0.0, 1.0)):
    system = oscillator(decay, frequency)
    g = impulse_response(system, t)[:, 0, 0]
    ax.plot(t, g, label=f"λ = {0 - decay:g} ± {frequency:g}i".replace("-", "−"))
ax.set(xlabel="t", ylabel="g(t)", title="An eigenvalue is a decay and a frequency")
ax.legend(ncols=2)
fig.tight_layout()

# %% check
g = impulse_response(oscillator(0.2, 3.0), t)[:, 0, 0]
torch.testing.assert_close(g, torch.exp(-0.2 * t) * torch.cos(3 * t))
