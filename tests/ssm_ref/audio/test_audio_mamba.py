import pytest
import torch
from torch import Tensor

from ssm_ref.audio.audio_mamba import AudioMamba, AudioMambaConfig, from_official
from ssm_ref.selective.selective_scan import selective_scan

TINY = AudioMambaConfig(
    frames=24, n_mels=16, patch=(8, 8), d_model=8, n_layer=2, n_classes=3, d_state=2
)


def model() -> AudioMamba:
    torch.manual_seed(0)
    return AudioMamba(TINY).double()


def sound(b: int = 2, samples: int = 4_000) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 0.1 * torch.randn(b, samples, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("cfg", "millions"),
    [
        (AudioMambaConfig(), 92.1),
        (AudioMambaConfig(n_classes=1251), 92.7),
        (AudioMambaConfig(n_classes=44), 91.7),
        (AudioMambaConfig.published("small", sharing="separate"), 25.5),
    ],
    ids=["audioset", "voxceleb", "epic-sounds", "small"],
)
def test_parameter_counts_are_the_published_ones(cfg: AudioMambaConfig, millions: float) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in AudioMamba(cfg).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


def test_reading_cuts_and_fills() -> None:
    net = model()
    short, long = net.read(sound()), net.read(sound(samples=8_000))
    assert short.shape == long.shape == (2, 24, 16)
    filled = (0.0 - TINY.mean) / (2 * TINY.std)
    assert torch.allclose(short[:, -1], torch.full((2, 16), filled, dtype=torch.float64))


def test_patches_are_rows_of_equal_frequency() -> None:
    net = model()
    s = net.read(sound(1)).requires_grad_()
    net.picture.patch_embed(s.mT[:, None])[0, 4].sum().backward()  # second band row, second column
    assert s.grad is not None
    touched = s.grad[0].abs() > 0
    want = torch.zeros_like(touched)
    want[8:16, 8:16] = True
    assert torch.equal(touched, want)


def test_definition_and_algorithm_agree() -> None:
    net = model()
    by_loop = AudioMamba(TINY, scan=selective_scan).double()
    by_loop.load_state_dict(net.state_dict())
    s = net.read(sound())
    torch.testing.assert_close(net(s), by_loop(s), rtol=1e-9, atol=1e-11)


def test_clip_wide_reading_is_not_causal() -> None:
    net, waveform = model(), sound(1)
    changed = waveform.clone()
    changed[0, -1] += 5.0
    first = slice(0, 2)
    assert not torch.equal(net.read(waveform)[:, first], net.read(changed)[:, first])


def test_official_weights_put_the_class_row_first() -> None:
    net = model()
    official = {
        name.removeprefix("picture."): value.clone() for name, value in net.state_dict().items()
    }
    ours = official.pop("pos_embed")
    middle = TINY.picture.middle
    rest = torch.cat([ours[:, :middle], ours[:, middle + 1 :]], dim=1)
    official["pos_embed.pos_embed"] = torch.cat([ours[:, middle : middle + 1], rest], dim=1)
    fresh = AudioMamba(TINY).double()
    fresh.load_state_dict(
        from_official({f"module.{name}": value for name, value in official.items()}, TINY)
    )
    s = net.read(sound())
    assert torch.equal(fresh(s), net(s))
    with pytest.raises(ValueError, match=r"no 'pos_embed\.pos_embed'"):
        from_official({"head.bias": ours}, TINY)


def test_other_sample_rates_keep_the_time_scale() -> None:
    front = TINY.front_end(8_000)
    assert (front.frame_length, front.frame_shift) == (200, 80)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: model()(torch.zeros(1, 16, 24)), r"= \(batch, 24, 16\); got \(1, 16, 24\)"),
        (lambda: AudioMambaConfig(frames=8), "smaller than one patch"),
        (lambda: AudioMambaConfig(std=0.0), "std must be positive"),
        (lambda: AudioMambaConfig.published("huge"), "choose one of tiny, small, base"),
    ],
)
def test_bad_input_says_what_was_wanted(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
