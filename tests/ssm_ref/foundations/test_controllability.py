"""Controllability and observability: rank, eigenvalue test and Gramians, against scipy."""

import numpy as np
import pytest
import scipy.linalg
import torch

from ssm_ref.foundations.controllability import (
    controllability_gramian,
    controllability_matrix,
    is_controllable,
    is_observable,
    observability_gramian,
    observability_matrix,
)

F64 = torch.float64


def stable(n: int = 4, *, discrete: bool) -> torch.Tensor:
    A = torch.randn(n, n, dtype=F64, generator=torch.Generator().manual_seed(n))
    eigenvalues = torch.linalg.eigvals(A)
    if discrete:
        return 0.9 * A / eigenvalues.abs().max()
    return A - (eigenvalues.real.max() + 0.3) * torch.eye(n, dtype=F64)


def test_gramians_match_scipy_lyapunov() -> None:
    B, C = torch.randn(4, 2, dtype=F64), torch.randn(3, 4, dtype=F64)
    for discrete in (True, False):
        A = stable(discrete=discrete)
        pairs = (
            (controllability_gramian(A, B, discrete=discrete), A, B @ B.T),
            (observability_gramian(A, C, discrete=discrete), A.T, C.T @ C),
        )
        for got, a, q in pairs:
            if discrete:
                want = scipy.linalg.solve_discrete_lyapunov(a.numpy(), q.numpy())
            else:
                want = scipy.linalg.solve_continuous_lyapunov(a.numpy(), -q.numpy())
            np.testing.assert_allclose(got.numpy(), want, rtol=1e-8, atol=1e-10)


def test_ranks_agree_with_the_eigenvalue_test() -> None:
    A, B = stable(discrete=False), torch.randn(4, 1, dtype=F64)
    assert int(torch.linalg.matrix_rank(controllability_matrix(A, B))) == 4
    assert is_controllable(A, B)
    T = torch.randn(4, 4, dtype=F64)
    A = T @ torch.block_diag(A[:2, :2], A[2:, 2:]) @ torch.linalg.inv(T)
    B = T @ torch.tensor([[1.0], [2.0], [0.0], [0.0]], dtype=F64)  # two states out of reach
    assert int(torch.linalg.matrix_rank(controllability_matrix(A, B), rtol=1e-9)) == 2
    assert not is_controllable(A, B)


def test_duality() -> None:
    A, C = stable(discrete=True), torch.randn(1, 4, dtype=F64)
    torch.testing.assert_close(observability_matrix(A, C), controllability_matrix(A.T, C.T).T)
    assert is_observable(A, C) == is_controllable(A.T, C.T)


def test_diagonal_system_is_controllable_unless_a_b_is_zero() -> None:
    A, B = torch.diag(-torch.arange(1.0, 5.0)).double(), torch.ones(4, 1, dtype=F64)
    assert is_controllable(A, B)
    assert is_observable(A, B.T)
    B[2] = 0
    assert not is_controllable(A, B)


def test_equal_eigenvalues_need_as_many_inputs() -> None:
    A = -torch.eye(2, dtype=F64)
    assert not is_controllable(A, torch.randn(2, 1, dtype=F64))
    assert is_controllable(A, torch.eye(2, dtype=F64))


def test_least_energy_to_reach_a_state_is_read_from_the_gramian() -> None:
    """x reached from zero in l steps costs xᵀ W⁻¹ x at least; W of many steps is the Gramian."""
    A, B = stable(2, discrete=True), torch.randn(2, 1, dtype=F64)
    reach = torch.cat([torch.linalg.matrix_power(A, i) @ B for i in range(200)], dim=1)
    x = torch.randn(2, dtype=F64)
    u = torch.linalg.pinv(reach) @ x
    W = controllability_gramian(A, B, discrete=True)
    torch.testing.assert_close(u @ u, x @ torch.linalg.solve(W, x))


def test_refuses_what_does_not_fit() -> None:
    A, B = stable(discrete=True), torch.randn(4, 1, dtype=F64)
    for call, message in (
        (lambda: controllability_matrix(A[:3], B), "A must be"),
        (lambda: is_controllable(A, B[:3]), "share n"),
        (lambda: controllability_gramian(2 * A, B, discrete=True), "stable"),
        (lambda: controllability_gramian(-stable(discrete=False), B, discrete=False), "stable"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
