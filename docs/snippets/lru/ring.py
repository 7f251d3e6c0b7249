# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.structured.lru import LRU, LRUConfig

torch.manual_seed(0)

# %% shown
layer = LRU(LRUConfig(d_model=1, d_state=400, r_min=0.8, r_max=0.99))
values = layer.eigenvalues.detach()
modulus = values.abs()
print(f"|λ| from {modulus.min():.3f} to {modulus.max():.3f}")

noise = torch.randn(1, 4000, 400) * layer.log_gamma.exp()  # white noise, scaled by γ
state = layer.recurrence(layer.eigenvalues, noise.to(values.dtype), None)[:, 2000:]
print(f"mean square of the state {state.abs().square().mean():.2f}, of the noise 1")

fig, ax = plt.subplots(figsize=(3.6, 3.6))
ax.plot(values.real, values.imag, ".", markersize=4)
ax.add_patch(plt.Circle((0, 0), 1, fill=False, linewidth=0.8))
ax.set(xlabel="Re λ", ylabel="Im λ", title="400 eigenvalues at the start", aspect="equal")
fig.tight_layout()

# %% check
assert modulus.max() < 0.99
assert abs(state.detach().abs().square().mean() - 1) < 0.1
