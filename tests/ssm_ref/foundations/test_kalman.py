"""Kalman filter and smoother against statsmodels, a Gaussian conditioned at once, and a scan."""

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

from ssm_ref.foundations.kalman import (
    Estimates,
    LinearGaussian,
    compose_filters,
    kalman_filter,
    kalman_filter_parallel,
    log_likelihood,
    smooth,
    steady_gain,
)
from ssm_ref.foundations.scan import associative_scan

F64 = torch.float64


def model(n: int = 3, p: int = 2) -> LinearGaussian:
    g = torch.Generator().manual_seed(n)
    A, Q, R, P = (torch.randn(k, k, dtype=F64, generator=g) for k in (n, n, p, n))
    A = 0.95 * A / torch.linalg.eigvals(A).abs().max()
    C, mean = torch.randn(p, n, dtype=F64, generator=g), torch.randn(n, dtype=F64, generator=g)
    one = torch.eye(p, dtype=F64)
    return LinearGaussian(A, Q @ Q.T, C, R @ R.T + 0.1 * one, mean, P @ P.T)


def oracle(m: LinearGaussian, y: np.ndarray) -> object:
    n, p = m.A.shape[0], m.C.shape[0]
    ks = KalmanSmoother(k_endog=p, k_states=n)
    ks.bind(np.asfortranarray(y.T))
    ks["design"], ks["obs_cov"] = m.C.numpy(), m.R.numpy()
    ks["transition"], ks["selection"], ks["state_cov"] = m.A.numpy(), np.eye(n), m.Q.numpy()
    predicted = m.A @ m.covariance @ m.A.T + m.Q  # statsmodels' prior is the predicted state
    ks.initialize_known((m.A @ m.mean).numpy(), predicted.numpy())
    return ks.smooth()


def assert_estimates(got: Estimates, want: Estimates) -> None:
    torch.testing.assert_close(got.mean, want.mean)
    torch.testing.assert_close(got.covariance, want.covariance)


def test_filter_and_smoother_match_statsmodels() -> None:
    m, y = model(), torch.randn(1, 25, 2, dtype=F64)
    want = oracle(m, y[0].numpy())
    got = kalman_filter(m, y)
    np.testing.assert_allclose(got.mean[0].T, want.filtered_state, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(got.covariance.permute(1, 2, 0), want.filtered_state_cov, atol=1e-9)
    np.testing.assert_allclose(log_likelihood(m, y)[0], want.llf, rtol=1e-9)
    back = smooth(m, got)
    np.testing.assert_allclose(back.mean[0].T, want.smoothed_state, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(back.covariance.permute(1, 2, 0), want.smoothed_state_cov, atol=1e-8)


def test_nile_matches_statsmodels() -> None:
    y = torch.tensor(sm.datasets.nile.load_pandas().data["volume"].to_numpy(dtype=float))
    one = torch.ones(1, 1, dtype=F64)
    m = LinearGaussian(one, 1469.1 * one, one, 15098.5 * one, 1000 * one[0], 1e5 * one)
    want = oracle(m, y[:, None].numpy())
    got = kalman_filter(m, y[None, :, None])
    np.testing.assert_allclose(got.mean[0, :, 0], want.filtered_state[0], rtol=1e-9)
    np.testing.assert_allclose(smooth(m, got).mean[0, :, 0], want.smoothed_state[0], rtol=1e-9)


@pytest.mark.parametrize("l", [1, 2, 3, 8, 21])
def test_parallel_in_time_is_the_same_filter(l: int) -> None:
    m, y = model(), torch.randn(3, l, 2, dtype=F64)
    assert_estimates(kalman_filter_parallel(m, y), kalman_filter(m, y))


def test_composition_is_associative() -> None:
    def element(k: int) -> tuple[torch.Tensor, ...]:
        g = torch.Generator().manual_seed(k)
        F, S, J = torch.randn(3, 1, 3, 3, dtype=F64, generator=g)
        b, eta = torch.randn(2, 1, 3, 2, dtype=F64, generator=g)
        return F, b, S @ S.mT, eta, J @ J.mT

    e1, e2, e3 = element(1), element(2), element(3)
    left = compose_filters(compose_filters(e1, e2), e3)
    torch.testing.assert_close(left, compose_filters(e1, compose_filters(e2, e3)))
    stacked = tuple(torch.cat(parts) for parts in zip(e1, e2, e3, strict=True))
    last = tuple(x[-1:] for x in associative_scan(compose_filters, stacked))
    torch.testing.assert_close(last, left)


def test_smoother_is_the_gaussian_conditioned_on_everything() -> None:
    m, y = model(2, 1), torch.randn(1, 4, 1, dtype=F64)
    l, n = 4, 2
    powers = [torch.linalg.matrix_power(m.A, k) for k in range(l + 1)]
    cov, mean = (
        torch.zeros(l * n, l * n, dtype=F64),
        torch.cat([powers[k + 1] @ m.mean for k in range(l)]),
    )
    for i in range(l):
        for j in range(l):
            block = powers[i + 1] @ m.covariance @ powers[j + 1].T
            for s in range(min(i, j) + 1):
                block = block + powers[i - s] @ m.Q @ powers[j - s].T
            cov[i * n : (i + 1) * n, j * n : (j + 1) * n] = block
    H, R = torch.block_diag(*[m.C] * l), torch.block_diag(*[m.R] * l)
    gain = cov @ H.T @ torch.linalg.inv(H @ cov @ H.T + R)
    want = mean + gain @ (y.flatten() - H @ mean)
    torch.testing.assert_close(smooth(m, kalman_filter(m, y)).mean.flatten(), want)


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_cut_anywhere(cut: int) -> None:
    m, y = model(), torch.randn(1, 9, 2, dtype=F64)
    whole, head = kalman_filter(m, y), kalman_filter(m, y[:, :cut])
    later = LinearGaussian(m.A, m.Q, m.C, m.R, head.mean[0, -1], head.covariance[-1])
    torch.testing.assert_close(kalman_filter(later, y[:, cut:]).mean, whole.mean[:, cut:])


def test_gain_settles_to_a_linear_recurrence() -> None:
    m, y = model(), torch.randn(1, 200, 2, dtype=F64)
    K = steady_gain(m)
    before, now = kalman_filter(m, y).mean[0, -2:]
    predicted = m.A @ before
    torch.testing.assert_close(now, predicted + K @ (y[0, -1] - m.C @ predicted))


def test_gradients_and_small_shapes() -> None:
    m, y = model(2, 1), torch.randn(1, 4, 1, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: kalman_filter_parallel(m, y).mean, y)
    assert kalman_filter(m, y[:0]).mean.shape == (0, 4, 2)
    assert kalman_filter_parallel(m, y[:0]).mean.shape == (0, 4, 2)


def test_refuses_what_does_not_fit() -> None:
    m, y = model(), torch.zeros(1, 4, 2, dtype=F64)
    for call, message in (
        (lambda: LinearGaussian(m.A, m.Q, m.C, m.Q, m.mean, m.covariance), "R must have shape"),
        (lambda: LinearGaussian(m.A, m.Q, m.C[0], m.R, m.mean, m.covariance), "C must be"),
        (lambda: kalman_filter(m, y[..., :1]), "y must have shape"),
        (lambda: kalman_filter_parallel(m, y[:, :0]), "at least one"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
