# %% setup
import matplotlib.pyplot as plt
import torch

from ssm_ref.audio.spectrogram import SpectrogramConfig, log_mel

# %% shown
cfg = SpectrogramConfig(n_mels=64)
t = torch.arange(2 * cfg.sample_rate) / cfg.sample_rate
chirp = torch.sin(2 * torch.pi * (200 * t + 900 * t**2))  # 200 Hz rising to 3800 Hz
s = log_mel(chirp[None], cfg)
print(s.shape)

# %% shown
figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
axes.imshow(s[0].T, origin="lower", aspect="auto", extent=(0, 2, 0, cfg.n_mels))
axes.set_xlabel("seconds")
axes.set_ylabel("mel band")
plt.show()

# %% check
bands = s[0].argmax(dim=1)
assert bands[-1] > bands[0]
