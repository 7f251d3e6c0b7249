# %% setup
import torch

from ssm_ref.audio.audio_mamba import AudioMamba, AudioMambaConfig

torch.manual_seed(0)

# %% shown
cfg = AudioMambaConfig(frames=96, n_mels=64, d_model=48, n_layer=2, n_classes=10)
model = AudioMamba(cfg)
t = torch.arange(16_000) / 16_000
clips = torch.stack([torch.sin(2 * torch.pi * f * t) for f in (220.0, 880.0)])
s = model.read(clips)
print("spectrogram", tuple(s.shape))
print("patches", cfg.picture.grid)
print("logits", tuple(model(s).shape))

# %% shown
for name, classes in (("AudioSet", 527), ("VoxCeleb", 1251), ("EPIC-Sounds", 44)):
    with torch.device("meta"):  # sizes without memory
        base = AudioMamba(AudioMambaConfig(n_classes=classes))
    print(f"AuM-Base for {name}: {sum(p.numel() for p in base.parameters()) / 1e6:.1f} M")

# %% check
assert model(s).shape == (2, 10)
