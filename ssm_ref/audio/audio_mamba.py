"""Audio Mamba (AuM): a spectrogram read as Vision Mamba reads an image.

    s = (log_mel(waveform) - mean) / (2 std), cut or filled to a fixed number of frames    (1)
    patches: 16 mel bands by 16 frames, in rows of equal frequency                         (2)
    logits = VisionMamba(patches)                                                          (3)

Of the three papers called Audio Mamba this is "Bidirectional State Space Model for Audio
Representation Learning" (Erol, Senocak, Feng, Chung, 2024, arXiv:2406.03344). Its model trained
from scratch shares weights between the directions (Fo-Bi, `sharing="shared"`); the one that starts
from Vim's ImageNet weights keeps them separate (Bi-Bi).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.audio.spectrogram import SpectrogramConfig, log_mel, normalise, to_length
from ssm_ref.expect import expect_counts
from ssm_ref.selective.mamba import Operator
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.vision.bidirectional_mamba import Sharing
from ssm_ref.vision.vision_mamba import PUBLISHED, VisionMamba, VisionMambaConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioMambaConfig:
    """Sizes of the model; the defaults are AuM-Base for ten seconds of AudioSet.

    Args:
        frames: rows of the spectrogram (1024 frames of 10 ms).
        n_mels: mel bands.
        patch: bands and frames of a patch.
        d_model: width of a token.
        n_layer: mixers.
        n_classes: width of the logits.
        d_state: state of a channel in each mixer.
        sharing: see `BidirectionalMambaConfig`.
        drop_path: chance of skipping the last mixer in training.
        mean: mean of the log-mel values of the training set; std: their standard deviation.
    """

    frames: int = 1024
    n_mels: int = 128
    patch: tuple[int, int] = (16, 16)
    d_model: int = 768
    n_layer: int = 24
    n_classes: int = 527
    d_state: int = 16
    sharing: Sharing = "shared"
    drop_path: float = 0.0
    mean: float = -4.2677393
    std: float = 4.5689974

    def __post_init__(self) -> None:
        expect_counts(self)
        if self.std <= 0:
            raise ValueError(f"std must be positive; got {self.std}")
        _ = self.picture  # whose own checks speak of the same sizes

    @classmethod
    def published(cls, size: str, **changes: Any) -> "AudioMambaConfig":
        """AuM "tiny", "small" or "base", with `changes` applied."""
        if size not in PUBLISHED:
            raise ValueError(f"no published size {size!r}; choose one of {', '.join(PUBLISHED)}")
        return cls(d_model=PUBLISHED[size], **changes)

    @property
    def picture(self) -> VisionMambaConfig:
        """The same model as Vision Mamba sees it: mel bands are rows, frames are columns."""
        return VisionMambaConfig(
            image=(self.n_mels, self.frames),
            patch=self.patch,
            channels=1,
            d_model=self.d_model,
            n_layer=self.n_layer,
            n_classes=self.n_classes,
            d_state=self.d_state,
            sharing=self.sharing,
            drop_path=self.drop_path,
        )

    def front_end(self, sample_rate: int = 16_000) -> SpectrogramConfig:
        """Settings of the log-mel front end: frames of 25 ms every 10 ms at any sample rate."""
        return SpectrogramConfig(
            sample_rate=sample_rate,
            n_mels=self.n_mels,
            frame_length=sample_rate // 40,
            frame_shift=sample_rate // 100,
        )


class AudioMamba(nn.Module):
    """The classifier of Eqs. (1) to (3). `scan` has the contract of `selective_scan`."""

    def __init__(self, cfg: AudioMambaConfig, *, scan: Operator = selective_scan_chunked) -> None:
        super().__init__()
        self.cfg = cfg
        self.picture = VisionMamba(cfg.picture, scan=scan)

    def read(
        self, waveform: Float[Tensor, "b samples"], *, sample_rate: int = 16_000
    ) -> Float[Tensor, "b frames mels"]:
        """Normalised spectrogram of sound in [-1, 1], as `forward` wants it, Eq. (1)."""
        s = log_mel(waveform, self.cfg.front_end(sample_rate))
        return normalise(to_length(s, self.cfg.frames), mean=self.cfg.mean, std=self.cfg.std)  # (1)

    def forward(self, spectrogram: Float[Tensor, "b frames mels"]) -> Float[Tensor, "b k"]:
        """Logits of the classes.

        Args:
            spectrogram: normalised log-mel values, (b, frames, n_mels), one row a frame.

        Raises:
            ValueError: if there are other frames or bands than the model was made for.
        """
        logits: Tensor = self.picture(self._image(spectrogram))  # (3)
        return logits

    def patches(self, spectrogram: Float[Tensor, "b frames mels"]) -> Float[Tensor, "b l m"]:
        """Tokens of the patches, in rows of equal frequency: what a multimodal model reads."""
        return self.picture.patches(self._image(spectrogram))

    def parameter_groups(self, weight_decay: float = 0.1) -> list[dict[str, Any]]:
        """The groups of `VisionMamba.parameter_groups`."""
        return self.picture.parameter_groups(weight_decay)

    def _image(self, spectrogram: Tensor) -> Tensor:
        wanted = (self.cfg.frames, self.cfg.n_mels)
        if spectrogram.ndim != 3 or tuple(spectrogram.shape[1:]) != wanted:
            raise ValueError(
                f"spectrogram must have shape (batch, frames, mels) = (batch, {wanted[0]}, "
                f"{wanted[1]}); got {tuple(spectrogram.shape)}"
            )
        return spectrogram.mT[:, None]  # (2)


def from_official(weights: dict[str, Tensor], cfg: AudioMambaConfig) -> dict[str, Tensor]:
    """Weights with the names and the order of the published code, as `AudioMamba` names them.

    The published position embedding has the class token's row first; here it stands where the
    token stands. Training in parallel prefixes names with "module.", which is dropped.
    """
    out = {f"picture.{name.removeprefix('module.')}": value for name, value in weights.items()}
    key = "picture.pos_embed.pos_embed"
    if key not in out:
        raise ValueError("the weights hold no 'pos_embed.pos_embed': not Audio Mamba's layout")
    first = out.pop(key)
    middle = cfg.picture.middle
    out["picture.pos_embed"] = torch.cat(
        [first[:, 1 : middle + 1], first[:, :1], first[:, middle + 1 :]], dim=1
    )
    return out
