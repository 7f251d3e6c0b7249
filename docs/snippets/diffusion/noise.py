# %% setup
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

from ssm_ref.vision.diffusion import NoiseSchedule

torch.manual_seed(0)

# %% shown
schedule = NoiseSchedule()  # 1000 steps
picture = torch.tensor(load_digits().images[3], dtype=torch.float32)[None] / 8 - 1
noise = torch.randn(picture.shape)

times = [0, 100, 250, 400, 600, 1000]
figure, axes = plt.subplots(1, len(times), figsize=(6.5, 1.7), layout="constrained")
for t, ax in zip(times, axes, strict=True):
    x_t = schedule.add_noise(picture, noise, torch.tensor([t]))
    ax.imshow(x_t[0], cmap="gray")
    ax.set(title=f"t = {t}", xticks=[], yticks=[], xlabel=f"{schedule.alpha_bar[t]:.3f}")
figure.supxlabel("what is left of the image's variance")
plt.show()

# %% check
assert schedule.alpha_bar[0] == 1
assert float(schedule.alpha_bar[1000]) < 1e-4
