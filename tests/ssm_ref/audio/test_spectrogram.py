import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from ssm_ref.audio.spectrogram import (
    SpectrogramConfig,
    log_mel,
    mel,
    mel_filters,
    normalise,
    to_length,
)

CONFIGS = [
    SpectrogramConfig(),
    SpectrogramConfig(sample_rate=8_000, n_mels=40, frame_length=200, frame_shift=80),
    SpectrogramConfig(n_mels=23, frame_length=512, frame_shift=171, preemphasis=0.9, low=0.0),
]


def oracle_filters(cfg: SpectrogramConfig) -> np.ndarray:
    return mel_filter_bank(
        num_frequency_bins=cfg.n_fft // 2 + 1,
        num_mel_filters=cfg.n_mels,
        min_frequency=cfg.low,
        max_frequency=cfg.sample_rate // 2,
        sampling_rate=cfg.sample_rate,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda c: str(c.n_mels))
def test_filters_match_transformers(cfg: SpectrogramConfig) -> None:
    np.testing.assert_allclose(mel_filters(cfg).numpy(), oracle_filters(cfg), atol=1e-12)


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda c: str(c.n_mels))
def test_spectrogram_matches_transformers(cfg: SpectrogramConfig) -> None:
    sound = torch.randn(1, 3_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sound = sound * 0.1 + 0.3  # an offset that has to be removed
    want = spectrogram(
        (sound - sound.mean())[0].numpy(),
        window_function(cfg.frame_length, "hann", periodic=False),
        frame_length=cfg.frame_length,
        hop_length=cfg.frame_shift,
        fft_length=cfg.n_fft,
        power=2.0,
        center=False,
        preemphasis=cfg.preemphasis,
        mel_filters=oracle_filters(cfg),
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
        dtype=np.float64,
    ).T
    got = log_mel(sound, cfg)[0]
    assert got.shape == (cfg.frames(3_000), cfg.n_mels)
    # transformers keeps the windowed frames in complex64
    np.testing.assert_allclose(got.numpy(), want, atol=1e-4)


def test_a_tone_lights_its_own_band() -> None:
    cfg = SpectrogramConfig(n_mels=64)
    t = torch.arange(16_000, dtype=torch.float64) / cfg.sample_rate
    for hz in (440.0, 1_000.0, 3_000.0):
        band = log_mel(torch.sin(2 * torch.pi * hz * t)[None], cfg).mean(dim=1).argmax().item()
        ends = mel(torch.tensor([20.0, hz, 8_000.0], dtype=torch.float64))
        expected = (ends[1] - ends[0]) / (ends[2] - ends[0]) * (cfg.n_mels + 1) - 1
        assert abs(band - expected.item()) <= 1


def test_silence_is_the_floor_and_a_batch_is_its_rows() -> None:
    sound = torch.randn(3, 800, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sound[1] = 0.0
    out = log_mel(sound)
    assert torch.equal(out[1], torch.full_like(out[1], np.log(torch.finfo(torch.float32).eps)))
    torch.testing.assert_close(out[2:], log_mel(sound[2:]))
    assert log_mel(sound[:0]).shape == (0, 3, 128)


def test_length_and_normalisation() -> None:
    s = torch.ones(2, 5, 4)
    assert to_length(s, 3).shape == (2, 3, 4)
    longer = to_length(s, 7)
    assert longer[:, 5:].eq(0).all()
    assert longer[:, :5].eq(1).all()
    assert normalise(torch.tensor([[[3.0]]]), mean=1.0, std=2.0).item() == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_mel(torch.zeros(800)), r"shape \(b, samples\); got torch.float32 of shape"),
        (lambda: log_mel(torch.zeros(1, 100)), "100 samples; one frame needs 400"),
        (lambda: log_mel(torch.zeros(1, 800, dtype=torch.int16)), "floating point"),
        (lambda: SpectrogramConfig(low=9_000.0), "half of the sample rate"),
        (lambda: SpectrogramConfig(n_mels=0), "n_mels must be at least 1"),
        (lambda: to_length(torch.zeros(1, 2, 3), 0), "frames must be at least 1"),
        (lambda: normalise(torch.zeros(1, 1, 1), std=0.0), "std must be positive"),
    ],
)
def test_bad_input_says_what_was_wanted(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
