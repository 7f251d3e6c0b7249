"""Realization: the kernel is kept, the error bound holds, Hankel values do not see the basis."""

import math

import pytest
import torch

from ssm_ref.foundations.controllability import controllability_gramian, observability_gramian
from ssm_ref.foundations.realization import (
    balanced_truncation,
    hankel_matrix,
    hankel_singular_values,
    ho_kalman,
)
from ssm_ref.foundations.state_space import (
    LinearSystem,
    change_basis,
    markov_parameters,
    transfer_function_discrete,
)

F64 = torch.float64


def system(n: int = 6, m: int = 2, p: int = 3) -> LinearSystem:
    g = torch.Generator().manual_seed(n)
    A = torch.randn(n, n, dtype=F64, generator=g)
    A = 0.9 * A / torch.linalg.eigvals(A).abs().max()
    B, C = torch.randn(n, m, dtype=F64, generator=g), torch.randn(p, n, dtype=F64, generator=g)
    return LinearSystem(A, B, C, torch.randn(p, m, dtype=F64, generator=g))


def strictly(s: LinearSystem, l: int) -> torch.Tensor:
    return markov_parameters(LinearSystem(s.A, s.B, s.C, torch.zeros_like(s.D)), l)


def test_hankel_values_do_not_depend_on_the_basis() -> None:
    s = system()
    T = torch.randn(6, 6, dtype=F64)
    torch.testing.assert_close(
        hankel_singular_values(change_basis(s, T)), hankel_singular_values(s)
    )


def test_hankel_values_are_those_of_the_infinite_hankel_matrix() -> None:
    s = system()
    H = hankel_matrix(strictly(s, 399), 200, 200)
    torch.testing.assert_close(torch.linalg.svdvals(H)[:6], hankel_singular_values(s))


def test_balanced_system_has_equal_diagonal_gramians() -> None:
    s = balanced_truncation(system(), 6)
    sigma = torch.diag(hankel_singular_values(s))
    for W in (
        controllability_gramian(s.A, s.B, discrete=True),
        observability_gramian(s.A, s.C, discrete=True),
    ):
        torch.testing.assert_close(W, sigma, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(markov_parameters(s, 20), markov_parameters(system(), 20))


@pytest.mark.parametrize("r", range(1, 6))
def test_truncation_error_stays_below_its_bound(r: int) -> None:
    s = system()
    z = torch.exp(2j * math.pi * torch.arange(500, dtype=F64) / 500)
    reduced = balanced_truncation(s, r)
    error = transfer_function_discrete(s, z) - transfer_function_discrete(reduced, z)
    bound = 2 * hankel_singular_values(s)[r:].sum()
    assert torch.linalg.matrix_norm(error, 2).max() <= bound * (1 + 1e-9)


@pytest.mark.parametrize("l", [13, 14, 40])
def test_ho_kalman_finds_a_system_from_its_kernel(l: int) -> None:
    s = system()
    K = strictly(s, l)
    found = ho_kalman(K, 6, s.D)
    torch.testing.assert_close(markov_parameters(found, 60), markov_parameters(s, 60))


def test_states_that_carry_nothing_are_found_superfluous() -> None:
    s = system(3)
    A = torch.block_diag(s.A, 0.5 * torch.eye(2, dtype=F64))
    padded = LinearSystem(
        A,
        torch.cat([s.B, torch.ones(2, 2, dtype=F64)]),
        torch.cat([s.C, torch.zeros(3, 2, dtype=F64)], dim=1),
        s.D,
    )
    minimal = balanced_truncation(padded, 3)
    torch.testing.assert_close(markov_parameters(minimal, 20), markov_parameters(s, 20))
    with pytest.raises(ValueError, match="1 … 3"):
        balanced_truncation(padded, 4)


def test_refuses_what_does_not_fit() -> None:
    s = system()
    for call, message in (
        (lambda: balanced_truncation(s, 0), "r must lie"),
        (lambda: hankel_matrix(torch.zeros(3, 1, 1), 3, 3), "l ≥ 5"),
        (lambda: ho_kalman(torch.zeros(1, 1, 1), 1), "l ≥ 2"),
        (lambda: ho_kalman(strictly(s, 20), 7), "1 … 6"),
        (lambda: hankel_singular_values(LinearSystem(2 * s.A, s.B, s.C, s.D)), "stable"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_complex_system_is_balanced_by_its_conjugates() -> None:
    A = torch.randn(5, 5, dtype=torch.complex128)
    A = 0.9 * A / torch.linalg.eigvals(A).abs().max()
    B, C = torch.randn(5, 2, dtype=A.dtype), torch.randn(3, 5, dtype=A.dtype)
    system = LinearSystem(A, B, C, torch.zeros(3, 2, dtype=A.dtype))
    W_c = controllability_gramian(A, B, discrete=True)
    W_o = observability_gramian(A, C, discrete=True)
    want = torch.linalg.eigvals(W_c @ W_o).real.sqrt().sort(descending=True).values
    torch.testing.assert_close(hankel_singular_values(system), want)
    whole = balanced_truncation(system, 5)
    torch.testing.assert_close(markov_parameters(whole, 9), markov_parameters(system, 9))
    W = controllability_gramian(whole.A, whole.B, discrete=True)
    torch.testing.assert_close(W, torch.diag(want).to(W.dtype))
