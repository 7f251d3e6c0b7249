"""HiPPO: matrices against their measures, states against exact projections."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import torch
from torch import Tensor

from ssm_ref.foundations.state_space import gauss_legendre, is_hurwitz
from ssm_ref.structured.hippo import (
    Measure,
    basis,
    hippo,
    laguerre,
    legendre,
    normal_plus_low_rank,
    online_legs,
    online_window,
    project_legs,
    reconstruct,
)

F64 = torch.float64
ALL = pytest.mark.parametrize("measure", Measure, ids=str)


def test_legs_entries_of_the_paper() -> None:
    A, B = hippo("legs", 3)
    want = [[-1, 0, 0], [-math.sqrt(3), -2, 0], [-math.sqrt(5), -math.sqrt(15), -3]]
    torch.testing.assert_close(A, torch.tensor(want, dtype=F64))
    torch.testing.assert_close(B, torch.tensor([1, 3, 5], dtype=F64).sqrt())


@pytest.mark.parametrize("n", [1, 16, 256])
def test_legs_eigenvalues_are_minus_one_to_minus_n(n: int) -> None:
    A, _ = hippo("legs", n)
    assert A.triu(1).abs().max() == 0
    torch.testing.assert_close(A.diagonal(), -torch.arange(1, n + 1, dtype=F64))


def test_legs_eigenvectors_are_hopelessly_conditioned() -> None:
    """Eleven digits of float64 at n = 16, all sixteen at n = 24; computed in exact fractions.

    With S = diag(√(2n+1)) the matrix S⁻¹ A S has integer entries, so that its eigenvectors and
    their inverse are exact and no eigensolver has to be trusted.
    """

    def digits(n: int) -> float:
        S = np.sqrt(2 * np.arange(n) + 1.0)
        whole = hippo("legs", n)[0].numpy() / S[:, None] * S
        np.testing.assert_allclose(whole, whole.round(), rtol=1e-12)
        A = [[Fraction(round(x)) for x in row] for row in whole.tolist()]
        V = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
        W = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]  # V⁻¹
        for j in range(n):
            for i in range(j + 1, n):
                V[i][j] = sum((A[i][k] * V[k][j] for k in range(j, i)), Fraction()) / (i - j)
        for j in range(n):
            for i in range(j + 1, n):
                W[i][j] = -sum((V[i][k] * W[k][j] for k in range(j, i)), Fraction())
        right, left = (np.array(M, dtype=float) for M in (V, W))
        right, left = S[:, None] * right, left / S  # eigenvectors of A itself
        length = np.linalg.norm(right, axis=0)
        right, left = right / length, left * length[:, None]
        return math.log10(np.linalg.norm(right, 2) * np.linalg.norm(left, 2))

    assert digits(16) == pytest.approx(11, abs=0.2)
    assert digits(24) > 16


def test_windows_of_two_are_the_matrices_of_the_s4_code() -> None:
    n = 6
    q = np.arange(n)
    r = np.sqrt(2 * q + 1)
    j, i = np.meshgrid(q, q)
    A, B = hippo("legt", n, theta=2.0)
    np.testing.assert_allclose(
        A.numpy(), -0.5 * r[:, None] * np.where(i < j, (-1.0) ** (i - j), 1) * r
    )
    np.testing.assert_allclose(B.numpy(), 0.5 * r)
    d = np.stack([np.zeros(n // 2), np.arange(n // 2)], axis=-1).reshape(-1)[1:]
    b = np.zeros(n)
    b[::2], b[0] = math.sqrt(2), 1
    A, B = hippo("fourier", n, theta=2.0)
    want = math.pi * (np.diag(d, -1) - np.diag(d, 1)) - np.outer(b, b)
    np.testing.assert_allclose(A.numpy(), want, atol=1e-12)
    np.testing.assert_allclose(B.numpy(), b)


@ALL
@pytest.mark.parametrize("n", [2, 8, 20])
def test_matrices_are_stable(measure: Measure, n: int) -> None:
    A, _ = hippo(measure, n)
    if measure is Measure.FOURIER:  # the sine of frequency zero is a state that never moves
        keep = [k for k in range(n) if k != 1]
        A = A[keep][:, keep]
    assert is_hurwitz(A)


@ALL
def test_basis_is_orthonormal_under_its_measure(measure: Measure) -> None:
    nodes, weights = gauss_legendre(200)
    upper = {Measure.LEGS: 1.0, Measure.LAGT: 120.0}.get(measure, 0.7)
    x, w = (nodes + 1) * upper / 2, weights * upper / 2
    if measure is not Measure.LAGT:
        w = w / upper
    phi = basis(measure, 8, x, theta=0.7)
    gram = phi * w @ phi.T
    want = torch.eye(8, dtype=F64)
    if measure is Measure.FOURIER:
        want[1, 1] = 0
    torch.testing.assert_close(gram, want, atol=1e-9, rtol=0)


def test_polynomials_match_scipy() -> None:
    x = torch.linspace(-1, 1, 11, dtype=F64)
    for n, (P, L) in enumerate(zip(legendre(9, x), laguerre(9, x + 1), strict=True)):
        np.testing.assert_allclose(P.numpy(), scipy.special.eval_legendre(n, x.numpy()), atol=1e-12)
        np.testing.assert_allclose(
            L.numpy(), scipy.special.eval_laguerre(n, x.numpy() + 1), atol=1e-12
        )


def test_legs_projection_matches_quadrature() -> None:
    f = torch.randn(1, 5, dtype=F64)
    got = project_legs(f, 4)[0]
    for n in range(4):
        want = sum(
            f[0, k].item()
            * scipy.integrate.quad(
                lambda r: math.sqrt(2 * n + 1) * scipy.special.eval_legendre(n, 2 * r - 1),  # noqa: B023
                k / 5,
                (k + 1) / 5,
            )[0]
            for k in range(5)
        )
        assert got[n].item() == pytest.approx(want, abs=1e-10)


def test_legs_state_is_the_projection_of_all_that_came() -> None:
    f = torch.randn(2, 40, dtype=F64)
    states = online_legs(f, 12)
    for l in (1, 2, 17, 40):
        torch.testing.assert_close(states[:, l - 1], project_legs(f[:, :l], 12))


def test_bilinear_legs_comes_close_on_a_smooth_signal() -> None:
    t = torch.linspace(0, 1, 400, dtype=F64)
    f = (torch.sin(9 * t) + t)[None]
    want, got = project_legs(f, 16), online_legs(f, 16, rule="bilinear")[:, -1]
    assert (got - want).norm() < 0.02 * want.norm()


def test_legs_does_not_know_the_time_scale() -> None:
    """A signal played twice as slowly leaves the same state."""
    f = torch.randn(1, 20, dtype=F64)
    slow = f.repeat_interleave(2, dim=1)
    torch.testing.assert_close(online_legs(f, 8)[:, -1], online_legs(slow, 8)[:, -1])


def test_polynomials_below_degree_n_are_remembered_exactly() -> None:
    s = torch.linspace(0, 1, 9, dtype=F64)
    nodes, weights = gauss_legendre(20)
    r, f = (nodes + 1) / 2, lambda r: 1 - 3 * r + 2 * r**3
    c = (weights / 2 * f(r)) @ basis("legs", 4, r).T
    torch.testing.assert_close(reconstruct(c, "legs", s), f(s))
    assert (reconstruct(c[:3], "legs", s) - f(s)).abs().max() > 0.01


def test_laguerre_state_is_the_exact_projection_of_the_past() -> None:
    n, dt = 6, 0.01
    f = torch.randn(1, 300, dtype=F64)
    got = online_window(f, n, "lagt", dt)[0, -1]
    nodes, weights = gauss_legendre(8)
    want = torch.zeros(n, dtype=F64)
    for k in range(300):  # the value k was held for ages (299 − k) dt … (300 − k) dt
        x = (299 - k + (nodes + 1) / 2) * dt
        want += f[0, k] * (basis("lagt", n, x) @ weights) * dt / 2
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("measure", "error"), [("legt", 2e-3), ("fourier", 6e-2)])
def test_window_is_reconstructed(measure: str, error: float) -> None:
    dt, theta = 1e-3, 0.5

    def f(t: Tensor) -> Tensor:
        return torch.sin(2 * math.pi * 2 * t) + 0.5 * torch.cos(2 * math.pi * 4 * t)

    end = torch.arange(1, 3001, dtype=F64) * dt
    held = f(end - dt / 2)[None]
    c = online_window(held, 32, measure, dt, theta=theta)[0, -1]
    age = torch.linspace(0.02, 0.48, 50, dtype=F64)
    got = reconstruct(c, measure, age, theta=theta)
    assert (got - f(end[-1] - age)).abs().max() < error


@ALL
@pytest.mark.parametrize("n", [2, 16, 64])
def test_normal_plus_low_rank(measure: Measure, n: int) -> None:
    A, B = hippo(measure, n)
    parts = normal_plus_low_rank(measure, n)
    one = torch.eye(n, dtype=torch.complex128)
    torch.testing.assert_close(parts.V.mH @ parts.V, one, atol=1e-12, rtol=0)
    inner = torch.diag(parts.eigenvalues) - parts.P.mT @ parts.P.conj()
    rebuilt = parts.V @ inner @ parts.V.mH
    assert (rebuilt - A).abs().max() < 1e-12 * A.abs().max() + 1e-12
    torch.testing.assert_close(parts.V @ parts.B, B.to(torch.complex128), atol=1e-11, rtol=0)
    torch.testing.assert_close(
        parts.eigenvalues.imag, -parts.eigenvalues.imag.flip(0), atol=1e-9, rtol=0
    )
    assert parts.P.shape[0] == (2 if measure is Measure.LEGT else 1)
    # Half of the state suffices for real signals: what it reads is the other half's conjugate.
    half = slice(n // 2, None)
    real = 2 * torch.einsum("ik,k->i", parts.V[:, half], parts.B[half]).real
    torch.testing.assert_close(real, B, atol=1e-11, rtol=0)


def test_legs_normal_part_is_half_decay_and_skew() -> None:
    A, _ = hippo("legs", 64)
    P = torch.sqrt(torch.arange(64, dtype=F64) + 0.5)
    S = A + torch.outer(P, P) + torch.eye(64, dtype=F64) / 2
    assert (S + S.T).abs().max() < 1e-12
    assert normal_plus_low_rank("legs", 64).eigenvalues.real.tolist() == pytest.approx([-0.5] * 64)


def test_legs_frequencies_at_sixteen() -> None:
    top = normal_plus_low_rank("legs", 16).eigenvalues.imag.flip(0)[:3]
    assert top.tolist() == pytest.approx([80.97, 25.63, 13.83], abs=0.01)


def test_batch_may_be_empty_and_length_one() -> None:
    assert online_legs(torch.zeros(0, 3), 4).shape == (0, 3, 4)
    assert online_window(torch.ones(2, 1), 4, "legt", 0.1).shape == (2, 1, 4)
    torch.testing.assert_close(online_legs(torch.ones(1, 1), 4)[0, 0], torch.eye(4)[0])


def test_refuses_what_it_does_not_know() -> None:
    f = torch.zeros(1, 3)
    for call, message in (
        (lambda: hippo("chebyshev", 4), "unknown measure 'chebyshev'"),
        (lambda: hippo("legs", 0), "n ≥ 1"),
        (lambda: legendre(0, f[0]), "n ≥ 1"),
        (lambda: laguerre(0, f[0]), "n ≥ 1"),
        (lambda: hippo("fourier", 5), "must be even"),
        (lambda: hippo("legt", 4, theta=0), "positive"),
        (lambda: online_legs(f, 4, rule="euler"), "unknown rule"),
        (lambda: online_legs(f[:, :0], 4), "l ≥ 1"),
        (lambda: online_legs(f.int(), 4), "floating point"),
        (lambda: online_window(f, 4, "legs", 0.1), "online_legs"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
