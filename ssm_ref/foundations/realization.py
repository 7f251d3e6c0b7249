"""From a kernel to a system, and from a large system to a small one (discrete time).

    σ_i = √λ_i(W_c W_o)                                  Hankel singular values   (1)
    (T⁻¹AT, T⁻¹B, CT) with W_c = W_o = diag(σ)           balanced                 (2)
    max over |z| = 1 of ‖G(z) − G_r(z)‖ ≤ 2 Σ_{i>r} σ_i  keeping r states         (3)
    H_ij = K_{i+j} = C A^{i+j} B,  H = 𝒪 𝒞               Hankel matrix            (4)
    A = S^{−½} U* H↑ V S^{−½},  H = U S V*,  H↑_ij = K_{i+j+1}   Ho and Kalman    (5)

The skip D is in no state: it is taken out first and put back last.

Sources: Ho and Kalman, 1966; balanced truncation after Moore, 1981.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ssm_ref.foundations.controllability import controllability_gramian, observability_gramian
from ssm_ref.foundations.state_space import LinearSystem


def hankel_singular_values(system: LinearSystem) -> Float[Tensor, " n"]:
    """How much each balanced state carries from past inputs to future outputs (1), descending."""
    R, L = _square_roots(system)
    return torch.linalg.svdvals(L.mH @ R)  # (1)


def balanced_truncation(system: LinearSystem, r: int) -> LinearSystem:
    """The `r` states of the balanced system (2) that carry most; its error is bounded by (3).

    Raises `ValueError` for an unstable system, or more states than carry anything.
    """
    R, L = _square_roots(system)
    U, sigma, Vh = torch.linalg.svd(L.mH @ R)
    _check_order(r, sigma)
    scale = sigma[:r].sqrt()
    T = R @ Vh[:r].mH / scale
    T_inverse = (U[:, :r] / scale).mH @ L.mH
    return LinearSystem(
        T_inverse @ system.A @ T, T_inverse @ system.B, system.C @ T, system.D
    )  # (2)


def hankel_matrix(K: Float[Tensor, "l p m"], rows: int, columns: int) -> Float[Tensor, "rp cm"]:
    """The block matrix of Eq. (4) with `rows` by `columns` blocks."""
    if K.ndim != 3 or K.shape[0] < rows + columns - 1:
        raise ValueError(
            f"K must be (l, p, m) with l ≥ {rows + columns - 1}; got shape {tuple(K.shape)}"
        )
    i = torch.arange(rows)[:, None] + torch.arange(columns)
    return K[i].permute(0, 2, 1, 3).flatten(2).flatten(0, 1)  # (4)


def ho_kalman(
    K: Float[Tensor, "l p m"], r: int, D: Float[Tensor, "p m"] | None = None
) -> LinearSystem:
    """A system of `r` states whose kernel C Aⁱ B is `K` (5), D excluded from K and put back.

    Exact if K comes from a system of order r. Raises `ValueError` if K is shorter than 2 taps or
    of lower rank than r.
    """
    if K.ndim != 3 or K.shape[0] < 2:
        raise ValueError(f"K must be (l, p, m) with l ≥ 2; got shape {tuple(K.shape)}")
    l, p, m = K.shape
    columns = l // 2
    rows = l - columns
    U, S, Vh = torch.linalg.svd(hankel_matrix(K, rows, columns), full_matrices=False)
    _check_order(r, S)
    scale = S[:r].sqrt()
    O, R = U[:, :r] * scale, scale[:, None] * Vh[:r]
    shifted = hankel_matrix(K[1:], rows - 1, columns)
    A = torch.linalg.lstsq(O[: (rows - 1) * p], shifted @ torch.linalg.pinv(R)).solution  # (5)
    return LinearSystem(A, R[:, :m], O[:p], K.new_zeros(p, m) if D is None else D)


def _square_roots(system: LinearSystem) -> tuple[Tensor, Tensor]:
    """R and L with W_c = R R* and W_o = L L*, also when a Gramian is singular."""
    roots = []
    for W in (
        controllability_gramian(system.A, system.B, discrete=True),
        observability_gramian(system.A, system.C, discrete=True),
    ):
        values, vectors = torch.linalg.eigh(W)
        roots.append(vectors * values.clamp(min=0).sqrt())
    return roots[0], roots[1]


def _check_order(r: int, sigma: Tensor) -> None:
    carrying = int((sigma > 1e3 * torch.finfo(sigma.dtype).eps * sigma[0]).sum())
    if not 1 <= r <= carrying:
        raise ValueError(f"r must lie in 1 … {carrying}, the states that carry anything; got {r}")
