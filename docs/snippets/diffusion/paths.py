# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.vision.diffusion import NoiseSchedule, sample

# %% shown
schedule = NoiseSchedule()
data = torch.tensor([-1.0, 1.0])  # all that there is: two numbers, one as likely as the other
seen: list[tuple[int, torch.Tensor]] = []


def best(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """E[ε | x_t], known exactly: a mean over the two numbers by how well each explains x_t."""
    seen.append((int(t[0]), x_t[:, 0]))
    a = schedule.signal(t, x_t)
    far = (x_t - a.sqrt() * data) ** 2 / (2 * (1 - a))
    x_0 = (torch.softmax(-far, dim=1) * data).sum(dim=1, keepdim=True)
    return (x_t - a.sqrt() * x_0) / (1 - a).sqrt()


start = torch.linspace(-2.5, 2.5, 12)[:, None]
figure, axes = plt.subplots(1, 2, figsize=(6.5, 2.8), sharey=True, layout="constrained")
for ax, eta in zip(axes, (0.0, 1.0), strict=True):
    seen.clear()
    g = torch.Generator().manual_seed(0)
    end = sample(best, start, schedule, steps=250, eta=eta, generator=g)
    t, x = zip(*seen, strict=True)
    ax.plot([*t, 0], torch.stack([*x, end[:, 0]]), lw=0.8)
    ax.set(xlim=(1000, 0), xlabel="t", title=f"η = {eta:g}")
axes[0].set_ylabel("x")
plt.show()

# %% check
assert (end.abs() - 1).abs().max() < 1e-3
