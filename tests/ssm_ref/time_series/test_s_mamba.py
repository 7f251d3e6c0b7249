from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.time_series.s_mamba import (
    LinearForecaster,
    LinearForecasterConfig,
    SMamba,
    SMambaConfig,
)

SIZES = {"lookback": 12, "horizon": 5, "variates": 4}
FORECASTERS = ["s_mamba", "linear"]


def forecaster(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    if name == "linear":
        return LinearForecaster(LinearForecasterConfig(**SIZES)).double()
    cfg = SMambaConfig(**SIZES, d_model=6, d_ff=8, n_layer=2, d_state=3)
    return SMamba(cfg, **options).double().eval()


def window(b: int = 3, l: int = 12, c: int = 4) -> Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(b, l, c, generator=g, dtype=torch.float64).cumsum(dim=1)


@pytest.mark.parametrize("name", FORECASTERS)
def test_a_shifted_and_scaled_window_shifts_and_scales_the_forecast(name: str) -> None:
    model, x = forecaster(name), window()
    shift = torch.tensor([3.0, -70.0, 0.1, 5.0], dtype=torch.float64)
    torch.testing.assert_close(model(x + shift), model(x) + shift, rtol=1e-9, atol=1e-9)
    # Scale needs ε to be small beside the variance: it is 1e-5, so the windows are made large.
    scale = torch.tensor([2.0, 0.5, 30.0, 1.0], dtype=torch.float64)
    x = 1e4 * x
    torch.testing.assert_close(model(x * scale), model(x) * scale)


def test_forward_is_its_equations_written_out() -> None:
    model, x = forecaster("s_mamba"), window()
    mean, deviation = x.mean(1), (x.var(1, unbiased=False) + 1e-5).sqrt()
    v = ((x - mean[:, None]) / deviation[:, None]).transpose(1, 2) @ model.embed.weight.T
    v = v + model.embed.bias
    for layer in model.layers:
        there = layer.forth(v)
        back = torch.stack([layer.back(v.flip(1))[:, -1 - i] for i in range(4)], dim=1)
        v = functional.layer_norm(
            v + there + back, (6,), layer.norm_mixed.weight, layer.norm_mixed.bias
        )
        hidden = functional.gelu(v @ layer.feed[0].weight.T + layer.feed[0].bias)
        fed = hidden @ layer.feed[3].weight.T + layer.feed[3].bias
        v = functional.layer_norm(v + fed, (6,), layer.norm_fed.weight, layer.norm_fed.bias)
    v = functional.layer_norm(v, (6,), model.norm.weight, model.norm.bias)
    y = (v @ model.project.weight.T + model.project.bias).transpose(1, 2)
    want = y * deviation[:, None] + mean[:, None]
    torch.testing.assert_close(model(x), want, rtol=1e-10, atol=1e-12)


def test_algorithm_matches_definition() -> None:
    by_chunks = forecaster("s_mamba")
    by_loop = forecaster("s_mamba", scan=selective_scan)
    torch.testing.assert_close(by_chunks(window()), by_loop(window()), rtol=1e-10, atol=1e-12)


def test_every_variate_sees_every_other() -> None:
    model, x = forecaster("s_mamba"), window(1).requires_grad_()
    for c in range(4):
        (gradient,) = torch.autograd.grad(model(x)[0, :, c].sum(), x)
        assert (gradient[0].abs().sum(dim=0) > 0).all()


def test_the_linear_map_keeps_variates_apart() -> None:
    model, x = forecaster("linear"), window(1).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0, :, 2].sum(), x)
    assert gradient[0].abs().sum(dim=0).nonzero().tolist() == [[2]]


def test_the_order_of_variates_matters_to_mamba_alone() -> None:
    """Variates have no order of their own; a scan gives them one."""
    order = [2, 0, 3, 1]
    for name, same in (("linear", True), ("s_mamba", False)):
        model = forecaster(name)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
        far = (model(window()[..., order]) - model(window())[..., order]).abs().max()
        assert (far < 1e-12) == same, name


def test_the_linear_map_fits_a_linear_recurrence() -> None:
    """x_t = 2 cos(ω) x_{t-1} - x_{t-2} is solved by one matrix: least squares leave no error."""
    t = torch.arange(17, dtype=torch.float64)
    phases = torch.rand(40, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    waves = torch.sin(2 * torch.pi * (t / 6 + phases))[..., None]
    x, y = waves[:, :12], waves[:, 12:]
    model = LinearForecaster(LinearForecasterConfig(lookback=12, horizon=5, variates=1)).double()
    deviation = (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    inputs = ((x - x.mean(1, keepdim=True)) / deviation)[..., 0]
    wanted = ((y - x.mean(1, keepdim=True)) / deviation)[..., 0]
    with torch.no_grad():
        model.map.weight.copy_(torch.linalg.pinv(inputs).matmul(wanted).T)
        model.map.bias.zero_()
    torch.testing.assert_close(model(x), y, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FORECASTERS)
def test_gradients(name: str) -> None:
    assert torch.autograd.gradcheck(forecaster(name), (window(1).requires_grad_(),))


@pytest.mark.parametrize("name", FORECASTERS)
def test_bf16_keeps_the_level_of_the_window(name: str) -> None:
    """The level is kept in the dtype of the window: 1000 is not rounded to a multiple of 8."""
    model, x = forecaster(name).float(), 1003 + window().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = model(x)
    torch.testing.assert_close(narrow, model(x), rtol=0, atol=0.2)


@pytest.mark.parametrize("name", FORECASTERS)
def test_no_row_and_a_window_that_does_not_move(name: str) -> None:
    model = forecaster(name)
    assert model(window(0)).shape == (0, 5, 4)
    assert model(torch.full((1, 12, 4), 9.0, dtype=torch.float64)).isfinite().all()


def test_published_widths() -> None:
    """The scripts of the authors for electricity, 321 variates."""
    cfg = SMambaConfig()
    assert (cfg.lookback, cfg.d_model, cfg.d_ff, cfg.n_layer, cfg.d_state) == (96, 512, 512, 3, 16)
    assert (cfg.mamba.expand, cfg.mamba.d_conv) == (1, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: forecaster("linear")(window(l=11)), r"\(batch, 12, 4\); got \(3, 11, 4\)"),
        (lambda: forecaster("s_mamba")(window(c=3)), r"\(batch, 12, 4\); got \(3, 12, 3\)"),
        (lambda: forecaster("s_mamba")(window().float()), "torch.float64 like the layer"),
        (lambda: forecaster("linear")(window() * torch.nan), "no NaN"),
        (lambda: SMambaConfig(horizon=0), "horizon must be at least 1; got 0"),
        (lambda: SMambaConfig(dropout=1.0), r"dropout must lie in \[0, 1\); got 1.0"),
        (lambda: LinearForecasterConfig(lookback=0), "lookback must be at least 1; got 0"),
    ],
)
def test_bad_input_says_what_was_wanted(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
