import torch

from ssm_ref.time_series.instance_norm import normalise


def windows() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return 5 + 3 * torch.randn(4, 20, 3, generator=g, dtype=torch.float64)


def test_windows_have_mean_zero_and_deviation_one() -> None:
    x, _ = normalise(windows())
    torch.testing.assert_close(x.mean(dim=1), torch.zeros_like(x[:, 0]), rtol=0, atol=1e-12)
    deviation = x.std(dim=1, unbiased=False)
    torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=1e-5, atol=0)


def test_restoring_is_the_inverse() -> None:
    x, level = normalise(windows())
    torch.testing.assert_close(level.restore(x), windows(), rtol=1e-12, atol=1e-12)


def test_a_window_that_does_not_move_stays_finite() -> None:
    x, level = normalise(torch.full((1, 8, 1), 7.0))
    assert x.abs().max() == 0
    assert level.restore(torch.zeros(1, 2, 1)).tolist() == [[[7.0], [7.0]]]
