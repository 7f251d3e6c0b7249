# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.time_series.series_classifier import SeriesClassifier, SeriesClassifierConfig

torch.manual_seed(0)

# %% shown
cfg = SeriesClassifierConfig(channels=1, n_classes=2, d_model=16, n_layer=1, d_state=4)
model = SeriesClassifier(cfg)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
t = torch.arange(48.0)


def draw(n):
    """Slow and fast waves in noise; the first 16 steps are noise alone."""
    labels = torch.randint(0, 2, (n,))
    period = torch.where(labels == 0, 16.0, 8.0)[:, None]
    wave = torch.sin(2 * torch.pi * (t / period + torch.rand(n, 1))) * (t >= 16)
    return (wave + 0.3 * torch.randn(n, 48))[..., None], labels


for _ in range(120):
    x, labels = draw(32)
    loss = torch.nn.functional.cross_entropy(model(x), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

x, labels = draw(200)
with torch.no_grad():
    right = (model.over_time(x).argmax(-1) == labels[:, None]).float().mean(0)
print(f"after 16 steps {right[15]:.2f}, after 32 steps {right[31]:.2f}, at the end {right[-1]:.2f}")

fig, ax = plt.subplots(figsize=(6.5, 2.4))
ax.plot(t + 1, right)
ax.axvline(16, ls=":", color="gray")
ax.set(xlabel="steps seen", ylabel="accuracy", ylim=(0.4, 1.02))
fig.tight_layout()

# %% check
assert right[15] < 0.65 < 0.9 < right[-1]
