"""The regulator against scipy's Riccati solver and against every other policy."""

import numpy as np
import pytest
import scipy.linalg
import torch

from ssm_ref.foundations.lqr import finite_horizon, lqr_gain, solve_riccati

F64 = torch.float64


def problem() -> tuple[torch.Tensor, ...]:
    A = torch.tensor([[1.0, 0.1], [0.2, 1.1]], dtype=F64)  # unstable
    B = torch.tensor([[0.0], [0.1]], dtype=F64)
    return A, B, torch.eye(2, dtype=F64), torch.tensor([[0.5]], dtype=F64)


def cost(gains: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    A, B, Q, R = problem()
    total = x.new_zeros(())
    for K in gains:
        u = -K @ x
        total = total + x @ Q @ x + u @ R @ u
        x = A @ x + B @ u
    return total + x @ Q @ x


def test_riccati_matches_scipy() -> None:
    want = scipy.linalg.solve_discrete_are(*(x.numpy() for x in problem()))
    np.testing.assert_allclose(solve_riccati(*problem()).numpy(), want, rtol=1e-9)
    A, Q = torch.randn(5, 5, dtype=F64), torch.eye(5, dtype=F64)
    B, R = torch.randn(5, 2, dtype=F64), torch.eye(2, dtype=F64)
    want = scipy.linalg.solve_discrete_are(*(x.numpy() for x in (A, B, Q, R)))
    np.testing.assert_allclose(solve_riccati(A, B, Q, R).numpy(), want, rtol=1e-7)


def test_least_cost_is_what_p_says_and_no_gradient_is_left() -> None:
    A, B, Q, R = problem()
    gains, P = finite_horizon(A, B, Q, R, 12)
    x, gains = torch.randn(2, dtype=F64), gains.requires_grad_()
    J = cost(gains, x)
    torch.testing.assert_close(J, x @ P @ x)
    (gradient,) = torch.autograd.grad(J, gains)
    assert gradient.abs().max() < 1e-8 * J


def test_a_long_horizon_is_the_stationary_one() -> None:
    A, B, Q, R = problem()
    gains, P = finite_horizon(A, B, Q, R, 300)
    torch.testing.assert_close(P, solve_riccati(A, B, Q, R))
    torch.testing.assert_close(gains[0], lqr_gain(P, A, B, R))


def test_feedback_stabilises_what_was_unstable() -> None:
    A, B, Q, R = problem()
    K = lqr_gain(solve_riccati(A, B, Q, R), A, B, R)
    assert torch.linalg.eigvals(A).abs().max() > 1
    assert torch.linalg.eigvals(A - B @ K).abs().max() < 1


def test_refuses_what_does_not_fit() -> None:
    A, B, Q, R = problem()
    for call, message in (
        (lambda: finite_horizon(A, B, Q, R, 0), "horizon"),
        (lambda: solve_riccati(A[:1], B, Q, R), "A must have shape"),
        (lambda: solve_riccati(A, B, Q, 0 * R), "positive definite"),
        (lambda: solve_riccati(A, B[:, 0], Q, R), "B must be a matrix"),
        (lambda: solve_riccati(2 * A, 0 * B, Q, R), "did not settle"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
