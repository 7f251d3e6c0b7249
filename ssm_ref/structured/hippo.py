"""HiPPO: a linear recurrence whose state is the best polynomial sketch of the input so far.

    c'(t) = A c(t) + B f(t)             LegT, LagT, Fourier: a fixed window or decay    (1)
    c'(t) = (A c(t) + B f(t)) / t       LegS: the whole past, stretched to [0, 1]       (2)

The matrices are in the sign of state space models (the HiPPO paper writes −A):

    LegS     A_nk = −√((2n+1)(2k+1)) for n > k, −(n+1) for n = k, else 0;  B_n = √(2n+1)   (3)
    LegT     A_nk = −√((2n+1)(2k+1))/θ · (1 if n ≥ k else (−1)^{n−k});     B_n = √(2n+1)/θ (4)
    LagT     A_nk = −1 for n > k, −½ for n = k, else 0;                    B_n = 1         (5)
    Fourier  A = J − (2/θ) b bᵀ, J turns pair k by 2πk/θ;                  B = (2/θ) b     (6)
             b = (1, 0, √2, 0, √2, 0, …)

The state is the list of coefficients in an orthonormal basis φ_n:

    c_n(t) = ∫ f φ_n dμ,    f ≈ Σ_n c_n φ_n                                             (7)

    LegS     φ_n(r) = √(2n+1) P_n(2r − 1), r = s/t in [0, 1]                            (8)
    LegT     φ_n(x) = √(2n+1) P_n(1 − 2x/θ), age x = t − s in [0, θ]                    (9)
    LagT     φ_n(x) = e^{−x/2} L_n(x), age x ≥ 0                                        (10)
    Fourier  φ_{2k}(x) = √2 cos(2πkx/θ), φ_{2k+1}(x) = √2 sin(2πkx/θ), φ_0 = 1          (11)

Each A is normal plus low rank: A = V (Λ − P P*) V* with unitary V                     (12)

Sources: HiPPO, arXiv 2008.07669; How to Train Your HiPPO, arXiv 2206.12037 (Fourier); S4,
arXiv 2111.00396 (normal plus low rank). The code of S4 fixes θ = 2.
"""

import math
from enum import StrEnum
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ssm_ref.expect import expect_numbers
from ssm_ref.foundations.discretization import discretize


class Measure(StrEnum):
    """What part of the past is remembered, and with what weight."""

    LEGS = "legs"
    LEGT = "legt"
    LAGT = "lagt"
    FOURIER = "fourier"


def hippo(
    measure: Measure | str, n: int, *, theta: float = 1.0
) -> tuple[Float[Tensor, "n n"], Float[Tensor, " n"]]:
    """A (n, n) and B (n,) of Eqs. (3) to (6), in float64; `theta` is the window of LegT, Fourier.

    Raises `ValueError` for an unknown measure, n < 1, odd n for Fourier, or a window ≤ 0.
    """
    measure = _known(measure, n, theta)
    i = torch.arange(n, dtype=torch.float64)
    root = torch.sqrt(2 * i + 1)
    match measure:
        case Measure.LEGS:
            A = (-root[:, None] * root).tril(-1) + torch.diag(-i - 1)  # (3)
            return A, root  # (3)
        case Measure.LEGT:
            sign = (-1.0) ** (i[:, None] - i)
            M = torch.where(i[:, None] >= i, torch.ones_like(sign), sign)
            return -(root[:, None] * M * root) / theta, root / theta  # (4)
        case Measure.LAGT:
            one = torch.ones(n, n, dtype=torch.float64)
            return torch.eye(n, dtype=torch.float64) / 2 - one.tril(), one[0]  # (5)
        case Measure.FOURIER:
            b = torch.zeros(n, dtype=torch.float64)
            b[::2] = math.sqrt(2)
            b[0] = 1
            turn = torch.zeros(n - 1, dtype=torch.float64)
            turn[::2] = 2 * math.pi / theta * i[: n // 2]
            J = torch.diag(turn, -1) - torch.diag(turn, 1)
            return J - 2 / theta * torch.outer(b, b), 2 / theta * b  # (6)


def basis(
    measure: Measure | str, n: int, x: Float[Tensor, " k"], *, theta: float = 1.0
) -> Float[Tensor, "n k"]:
    """φ_0 … φ_{n−1} at the places `x` (8) to (11).

    For LegS a place is the share s/t of the past, in [0, 1]; for the others an age t − s ≥ 0.
    """
    measure = _known(measure, n, theta)
    i = torch.arange(n, dtype=x.dtype)
    match measure:
        case Measure.LEGS:
            return torch.sqrt(2 * i + 1)[:, None] * legendre(n, 2 * x - 1)  # (8)
        case Measure.LEGT:
            return torch.sqrt(2 * i + 1)[:, None] * legendre(n, 1 - 2 * x / theta)  # (9)
        case Measure.LAGT:
            return torch.exp(-x / 2) * laguerre(n, x)  # (10)
        case Measure.FOURIER:
            angle = 2 * math.pi / theta * (i[: n // 2, None] * x)
            waves = torch.stack([angle.cos(), angle.sin()], dim=1).flatten(0, 1)
            waves = math.sqrt(2) * waves  # (11)
            waves[0] = 1
            return waves


def legendre(n: int, x: Float[Tensor, " k"]) -> Float[Tensor, "n k"]:
    """Legendre polynomials P_0 … P_{n−1} by (k+1) P_{k+1} = (2k+1) x P_k − k P_{k−1}."""
    _check_size(n)
    P = [torch.ones_like(x), x]
    for k in range(1, n - 1):
        P.append(((2 * k + 1) * x * P[k] - k * P[k - 1]) / (k + 1))
    return torch.stack(P[:n])


def laguerre(n: int, x: Float[Tensor, " k"]) -> Float[Tensor, "n k"]:
    """Laguerre polynomials L_0 … L_{n−1} by (k+1) L_{k+1} = (2k+1−x) L_k − k L_{k−1}."""
    _check_size(n)
    L = [torch.ones_like(x), 1 - x]
    for k in range(1, n - 1):
        L.append(((2 * k + 1 - x) * L[k] - k * L[k - 1]) / (k + 1))
    return torch.stack(L[:n])


def project_legs(f: Float[Tensor, "b l"], n: int) -> Float[Tensor, "b n"]:
    """LegS coefficients (7) of a signal held for one step at each of its l values: the definition.

    Integrates the basis exactly over every step, by ∫P_n = (P_{n+1} − P_{n−1}) / (2n + 1).
    """
    l = _length(f)
    edge = torch.linspace(-1, 1, l + 1, dtype=f.dtype)
    P = legendre(n + 1, edge)
    below = torch.cat([-torch.ones(1, l + 1, dtype=f.dtype), P[: n - 1]])
    i = torch.arange(n, dtype=f.dtype)[:, None]
    integral = (P[1:] - below) / (2 * i + 1) / 2
    return f @ (torch.sqrt(2 * i + 1) * integral.diff(dim=1)).T  # (7)


def online_legs(f: Float[Tensor, "b l"], n: int, *, rule: str = "zoh") -> Float[Tensor, "b l n"]:
    """LegS coefficients after every step, by recurrence (2).

    With `rule="zoh"` the signal is held over each step and the state is the exact projection: in
    the time log t Eq. (2) does not depend on time. `rule="bilinear"` is cheaper, a triangular
    solve a step, and approximate.
    """
    l = _length(f)
    A, B = (x.to(f.dtype) for x in hippo(Measure.LEGS, n))
    one = torch.eye(n, dtype=f.dtype)
    c, states = f.new_zeros(f.shape[0], n), []
    for k in range(1, l + 1):
        f_k = f[:, k - 1, None]
        if rule == "bilinear":
            forward = c + (c @ A.T / 2 + f_k * B) / k
            c = torch.linalg.solve_triangular(one - A / (2 * k), forward.T, upper=False).T  # (2)
        elif rule == "zoh":
            A_bar = torch.matrix_exp(A * math.log(k / (k - 1))) if k > 1 else 0 * one
            held = torch.linalg.solve_triangular(A, ((A_bar - one) @ B)[:, None], upper=False)
            c = c @ A_bar.T + f_k * held.T  # (2)
        else:
            raise ValueError(f"unknown rule {rule!r}; choose zoh or bilinear")
        states.append(c)
    return torch.stack(states, dim=1)


def online_window(
    f: Float[Tensor, "b l"], n: int, measure: Measure | str, dt: float, *, theta: float = 1.0
) -> Float[Tensor, "b l n"]:
    """LegT, LagT or Fourier coefficients after every step of length `dt`, by recurrence (1)."""
    if Measure(_known(measure, n, theta)) is Measure.LEGS:
        raise ValueError("LegS has no window and no step: use online_legs")
    l = _length(f)
    A, B = (x.to(f.dtype) for x in hippo(measure, n, theta=theta))
    A_bar, B_bar, _ = discretize(A, B[:, None], dt)
    c, states = f.new_zeros(f.shape[0], n), []
    for k in range(l):
        c = c @ A_bar.T + f[:, k, None] * B_bar.T  # (1)
        states.append(c)
    return torch.stack(states, dim=1)


def reconstruct(
    c: Float[Tensor, "... n"], measure: Measure | str, x: Float[Tensor, " k"], *, theta: float = 1.0
) -> Float[Tensor, "... k"]:
    """The remembered signal Σ c_n φ_n at the places `x` of `basis` (7)."""
    return c @ basis(measure, c.shape[-1], x, theta=theta).to(c.dtype)  # (7)


class NormalPlusLowRank(NamedTuple):
    """A = V (Λ − P P*) V* with V unitary, and B in the same basis.

    Λ (n,), P (r, n), B (n,), V (n, n); all complex128. Eigenvalues come in ascending imaginary
    part, so the last n // 2 are one of each conjugate pair.
    """

    eigenvalues: Complex[Tensor, " n"]
    P: Complex[Tensor, "r n"]
    B: Complex[Tensor, " n"]
    V: Complex[Tensor, "n n"]


def normal_plus_low_rank(
    measure: Measure | str, n: int, *, theta: float = 1.0
) -> NormalPlusLowRank:
    """Eq. (12) for any measure: rank 1, but 2 for LegT.

    A + P Pᵀ is a multiple of the identity plus a skew matrix S, and −iS is Hermitian, so its
    eigenvectors are orthonormal to rounding: A itself is never diagonalised. Columns k and
    n − 1 − k of V are conjugate.
    """
    measure = _known(measure, n, theta)
    A, B = hippo(measure, n, theta=theta)
    i = torch.arange(n, dtype=torch.float64)
    match measure:
        case Measure.LEGS:
            P = torch.sqrt(i + 0.5)[None]
        case Measure.LEGT:
            P = torch.sqrt((2 * i + 1) / theta) * torch.stack([i % 2 == 0, i % 2 == 1])
        case Measure.LAGT:
            P = torch.full((1, n), math.sqrt(0.5), dtype=torch.float64)
        case Measure.FOURIER:
            P = B[None] * math.sqrt(theta / 2)
    normal = A + P.T @ P
    shift = normal.diagonal().mean()
    S = normal - shift * torch.eye(n, dtype=torch.float64)
    imaginary, V = torch.linalg.eigh(-1j * S)
    if measure is Measure.FOURIER:  # its first pair stands still: choose conjugate vectors
        pair = torch.tensor([[1, 1], [-1j, 1j]], dtype=V.dtype) / math.sqrt(2)
        V[:, n // 2 - 1 : n // 2 + 1] = torch.cat([pair, pair.new_zeros(n - 2, 2)])
    eigenvalues = torch.complex(shift.expand(n), imaginary)  # (12)
    return NormalPlusLowRank(eigenvalues, P.to(V.dtype) @ V.conj(), V.mH @ B.to(V.dtype), V)


def _known(measure: Measure | str, n: int, theta: float) -> Measure:
    try:
        measure = Measure(measure)
    except ValueError as error:
        names = [m.value for m in Measure]
        raise ValueError(f"unknown measure {measure!r}; choose from {names}") from error
    _check_size(n)
    if measure is Measure.FOURIER and n % 2:
        raise ValueError(f"Fourier states come in pairs, so n must be even; got {n}")
    if not theta > 0:
        raise ValueError(f"theta must be positive; got {theta}")
    return measure


def _check_size(n: int) -> None:
    if n < 1:
        raise ValueError(f"a state needs n ≥ 1 numbers; got {n}")


def _length(f: Tensor) -> int:
    if f.ndim != 2 or f.shape[1] == 0 or not f.is_floating_point():
        raise ValueError(
            f"f must be floating point of shape (b, l), l ≥ 1; got {f.dtype} {tuple(f.shape)}"
        )
    expect_numbers("f", f)
    return f.shape[1]
