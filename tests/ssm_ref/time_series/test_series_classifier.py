from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.time_series.series_classifier import SeriesClassifier, SeriesClassifierConfig

MIXERS = ["mamba", "s4d"]


def model(mixer: str, **options: Any) -> SeriesClassifier:
    torch.manual_seed(0)
    cfg = SeriesClassifierConfig(channels=3, n_classes=4, d_model=6, d_state=4, mixer=mixer)
    return SeriesClassifier(cfg, **options).double().eval()


def series(b: int = 3, l: int = 9) -> Tensor:
    return torch.randn(b, l, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("mixer", MIXERS)
def test_padding_changes_nothing(mixer: str) -> None:
    net, x, lengths = model(mixer), series(), [9, 4, 1]
    for row, length in enumerate(lengths):
        x[row, length:] = torch.nan
    want = torch.cat([net(x[i : i + 1, :n]) for i, n in enumerate(lengths)])
    torch.testing.assert_close(net(x), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_answer_after_a_step_is_that_for_the_series_so_far(mixer: str) -> None:
    net, x = model(mixer), series()
    over = net.over_time(x)
    for t in range(9):
        torch.testing.assert_close(over[:, t], net(x[:, : t + 1]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mixer", MIXERS)
def test_no_answer_depends_on_the_future(mixer: str) -> None:
    net, x = model(mixer), series(1).requires_grad_()
    (gradient,) = torch.autograd.grad(net.over_time(x)[0, 4].sum(), x)
    seen = gradient[0].abs().sum(dim=-1)
    assert (seen[:5] > 0).all()
    assert seen[5:].max() < 1e-15, "S4D convolves by a Fourier transform, whose rounding spreads"


def test_algorithm_matches_definition() -> None:
    x = series()
    by_loop = model("mamba", scan=selective_scan)
    torch.testing.assert_close(model("mamba")(x), by_loop(x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mixer", MIXERS)
def test_gradients(mixer: str) -> None:
    assert torch.autograd.gradcheck(model(mixer), (series(2, 4).requires_grad_(),))


def test_gradients_pass_by_the_padding() -> None:
    x = series(2, 5)
    x[1, 3:] = torch.nan
    net = model("mamba")
    net(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_long_series_in_bf16_is_answered_as_in_full_precision(mixer: str) -> None:
    net, x = model(mixer).float(), series(2, 700).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = net(x)
    torch.testing.assert_close(narrow.float(), net(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("mixer", MIXERS)
def test_one_step_and_no_row(mixer: str) -> None:
    assert model(mixer)(series(2, 1)).shape == (2, 4)
    assert model(mixer)(series(0, 3)).shape == (0, 4)


def with_nan(row: int, step: int, channels: slice) -> Tensor:
    x = series()
    x[row, step, channels] = torch.nan
    return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: model("mamba")(series()[..., :2]), r"length ≥ 1, 3\); got \(3, 9, 2\)"),
        (lambda: model("mamba")(series(2, 0)), "length ≥ 1"),
        (lambda: model("mamba")(series().float()), "torch.float64 like the layer"),
        (lambda: model("mamba")(with_nan(0, 8, slice(0, 2))), "no NaN; got 2"),
        (lambda: model("mamba")(with_nan(1, 4, slice(None))), "only behind the last step"),
        (lambda: model("mamba")(series() * torch.nan), "only behind the last step"),
        (
            lambda: SeriesClassifierConfig(channels=1, n_classes=2, mixer="gru"),
            "'mamba' or 's4d'; got 'gru'",
        ),
        (lambda: SeriesClassifierConfig(channels=0, n_classes=2), "at least 1; got 0"),
    ],
)
def test_bad_input_says_what_was_wanted(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
