"""Log-mel spectrograms as Kaldi defines them and Audio Mamba reads them.

A frame of the waveform is centred, pre-emphasised, windowed and taken to its power spectrum, whose
bins are summed under triangles that are equally wide in mel:

    p_k = |sum_n w_n (x_n - a x_{n-1}) e^{-2 pi i k n / N}|^2                           (1)
    mel(f) = 1127 ln(1 + f / 700)                                                       (2)
    s_m = ln max(sum_k M[k, m] p_k, eps)                                                (3)

Sources: the Kaldi toolkit (Povey et al., 2011) for Eqs. (1)-(3); "Audio Mamba: Bidirectional State
Space Model for Audio Representation Learning" (Erol et al., 2024, arXiv:2406.03344) and its code
for the settings and the normalisation.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ssm_ref.expect import expect_counts, expect_numbers

EPS = torch.finfo(torch.float32).eps  # the floor of Eq. (3), Kaldi's own


@dataclass(frozen=True, kw_only=True, slots=True)
class SpectrogramConfig:
    """Settings of the front end; the defaults are Audio Mamba's for 16 kHz sound.

    Args:
        sample_rate: samples a second.
        n_mels: mel bands.
        frame_length: samples in a frame (25 ms at 16 kHz).
        frame_shift: samples between frames (10 ms at 16 kHz).
        preemphasis: a of Eq. (1).
        low: lowest frequency of the first triangle, Hz; the last one ends at sample_rate / 2.
    """

    sample_rate: int = 16_000
    n_mels: int = 128
    frame_length: int = 400
    frame_shift: int = 160
    preemphasis: float = 0.97
    low: float = 20.0

    def __post_init__(self) -> None:
        expect_counts(self, "sample_rate", "n_mels", "frame_length", "frame_shift")
        if not 0 <= self.low < self.sample_rate / 2:
            raise ValueError(
                f"low={self.low} Hz must lie in [0, {self.sample_rate / 2}), "
                "half of the sample rate"
            )

    @property
    def n_fft(self) -> int:
        """Length of the transform: the frame length rounded up to a power of two."""
        return 1 << (self.frame_length - 1).bit_length()

    def frames(self, samples: int) -> int:
        """Whole frames in a waveform of this many samples."""
        return max(0, 1 + (samples - self.frame_length) // self.frame_shift)


def mel(frequency: Tensor) -> Tensor:
    """Mel value of frequencies in Hz, Eq. (2)."""
    return 1127.0 * torch.log1p(frequency / 700.0)  # (2)


def mel_filters(cfg: SpectrogramConfig) -> Float[Tensor, "bins mels"]:
    """Triangles equally spaced in mel, one column a band; float64."""
    hz = torch.arange(cfg.n_fft // 2 + 1, dtype=torch.float64) * cfg.sample_rate / cfg.n_fft
    ends = mel(torch.tensor([cfg.low, cfg.sample_rate / 2], dtype=torch.float64))
    knots = torch.linspace(ends[0].item(), ends[1].item(), cfg.n_mels + 2, dtype=torch.float64)
    left, centre, right = knots[:-2], knots[1:-1], knots[2:]
    at = mel(hz)[:, None]
    rising = (at - left) / (centre - left)
    falling = (right - at) / (right - centre)
    return torch.minimum(rising, falling).clamp_min(0.0)


def log_mel(
    waveform: Float[Tensor, "b samples"], cfg: SpectrogramConfig | None = None
) -> Float[Tensor, "b l mels"]:
    """Log-mel spectrogram of each waveform, one row a frame, Eqs. (1) and (3).

    Args:
        waveform: sound in [-1, 1], shape (b, samples), any floating dtype.
        cfg: settings; `SpectrogramConfig()` when omitted.

    Returns:
        Natural logarithms of mel energies, (b, frames, n_mels), in the waveform's dtype.

    Raises:
        ValueError: if the waveform is not (b, samples) or shorter than one frame.
    """
    cfg = cfg or SpectrogramConfig()
    if waveform.ndim != 2 or not waveform.is_floating_point():
        raise ValueError(
            f"waveform must be floating point of shape (b, samples); got {waveform.dtype} "
            f"of shape {tuple(waveform.shape)}"
        )
    expect_numbers("waveform", waveform)
    if waveform.shape[1] < cfg.frame_length:
        raise ValueError(
            f"waveform has {waveform.shape[1]} samples; one frame needs {cfg.frame_length}"
        )
    if not waveform.shape[0]:  # MKL refuses the transform of an empty batch
        return waveform.new_empty(0, cfg.frames(waveform.shape[1]), cfg.n_mels)
    x = waveform - waveform.mean(dim=1, keepdim=True)
    x = x.unfold(1, cfg.frame_length, cfg.frame_shift)  # b l n
    x = x - x.mean(dim=-1, keepdim=True)
    previous = torch.cat([x[..., :1], x[..., :-1]], dim=-1)
    x = x - cfg.preemphasis * previous
    window = torch.hann_window(cfg.frame_length, periodic=False, dtype=x.dtype, device=x.device)
    power = torch.fft.rfft(x * window, n=cfg.n_fft).abs().square()  # (1)
    energy = power @ mel_filters(cfg).to(x)
    return energy.clamp_min(EPS).log()  # (3)


def to_length(
    spectrogram: Float[Tensor, "b l mels"], frames: int
) -> Float[Tensor, "b frames mels"]:
    """Cut a spectrogram to `frames` rows, or fill it up with zeros, as Audio Mamba does."""
    if frames < 1:
        raise ValueError(f"frames must be at least 1; got {frames}")
    missing = frames - spectrogram.shape[1]
    if missing <= 0:
        return spectrogram[:, :frames]
    return torch.nn.functional.pad(spectrogram, (0, 0, 0, missing))


def normalise(
    spectrogram: Float[Tensor, "b l mels"], *, mean: float = -4.2677393, std: float = 4.5689974
) -> Float[Tensor, "b l mels"]:
    """(s - mean) / (2 std); the defaults are the AudioSet statistics of Audio Mamba's code."""
    if std <= 0:
        raise ValueError(f"std must be positive; got {std}")
    return (spectrogram - mean) / (2 * std)
