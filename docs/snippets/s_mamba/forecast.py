# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.time_series.s_mamba import (
    LinearForecaster,
    LinearForecasterConfig,
    SMamba,
    SMambaConfig,
)

torch.manual_seed(0)

# %% shown
t = torch.arange(60.0)
waves = torch.stack([torch.sin(2 * torch.pi * t / 12), torch.sin(2 * torch.pi * t / 7)], dim=1)
window = waves[None, :36]
model = SMamba(
    SMambaConfig(lookback=36, horizon=12, variates=2, d_model=32, d_ff=32, n_layer=1, d_state=4)
).eval()
linear = LinearForecaster(LinearForecasterConfig(lookback=36, horizon=12, variates=2))
print("forecast", tuple(model(window).shape))
for name, one in (("S-Mamba", model), ("linear map", linear)):
    count = sum(p.numel() for p in one.parameters())
    moved = one(100 + 10 * window) - (100 + 10 * one(window))
    swapped = one(window.flip(2)).flip(2) - one(window)
    print(
        f"{name:10} {count:6,} parameters; level moved: {moved.abs().max().item():.0e}, "
        f"variates swapped: {swapped.abs().max().item():.0e}"
    )

# %% shown
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(150):  # both waves from any moment
    phase = torch.randint(0, 84, (16,))[:, None] + torch.arange(48)
    batch = torch.stack([torch.sin(2 * torch.pi * phase / p) for p in (12, 7)], dim=2)
    loss = (model(batch[:, :36]) - batch[:, 36:]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

fig, axes = plt.subplots(2, 1, figsize=(6.5, 3), sharex=True)
with torch.no_grad():
    forecast = model(window)[0]
for i, ax in enumerate(axes):
    ax.plot(t[:48], waves[:48, i], color="gray", lw=1, label="series")
    ax.plot(t[36:48], forecast[:, i], marker=".", label="forecast")
    ax.axvline(35.5, ls=":", color="gray")
    ax.set_ylabel(f"variate {i}")
axes[0].legend(loc="upper right", ncols=2)
axes[1].set_xlabel("step")
fig.tight_layout()

# %% check
assert (forecast - waves[36:48]).square().mean() < 0.05
