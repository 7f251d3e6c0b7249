"""Which states the input can reach and which the output can show, by rank and by energy.

    𝒞 = [B, AB, …, A^{n−1}B],   𝒪 = [C; CA; …; CA^{n−1}]                    (1)
    rank [λI − A, B] = n at every eigenvalue λ  (Popov, Belevitch, Hautus)   (2)
    A W_c + W_c A* + B B* = 0                    continuous time             (3)
    W_c = A W_c A* + B B* = Σ_i Aⁱ B B* (A*)ⁱ    discrete time               (4)
    W_o(A, C) = W_c(A*, C*)                                                  (5)

A system is controllable if 𝒞 has rank n, equivalently if (2) holds, equivalently (for stable A)
if W_c is positive definite. By (5) every statement about inputs is one about outputs.
"""

import torch
from jaxtyping import Inexact
from torch import Tensor


def controllability_matrix(
    A: Inexact[Tensor, "n n"], B: Inexact[Tensor, "n m"]
) -> Inexact[Tensor, "n nm"]:
    """𝒞 of Eq. (1), n · m columns."""
    _check(A, B)
    blocks = [B]
    for _ in range(A.shape[0] - 1):
        blocks.append(A @ blocks[-1])
    return torch.cat(blocks, dim=1)  # (1)


def observability_matrix(
    A: Inexact[Tensor, "n n"], C: Inexact[Tensor, "p n"]
) -> Inexact[Tensor, "np n"]:
    """𝒪 of Eq. (1), n · p rows."""
    return controllability_matrix(A.mH, C.mH).mH  # (5)


def is_controllable(A: Inexact[Tensor, "n n"], B: Inexact[Tensor, "n m"]) -> bool:
    """Whether every state can be reached, by the test (2), which needs no powers of A."""
    _check(A, B)
    n = A.shape[0]
    eigenvalues = torch.linalg.eigvals(A)
    one = torch.eye(n, dtype=eigenvalues.dtype, device=A.device)
    pencil = torch.cat(
        [eigenvalues[:, None, None] * one - A, B.to(eigenvalues.dtype).expand(n, -1, -1)], dim=-1
    )
    scale = torch.linalg.matrix_norm(A, 2) + torch.linalg.matrix_norm(B, 2)
    smallest = torch.linalg.svdvals(pencil).amin()
    return bool(smallest > 1e3 * n * torch.finfo(A.dtype).eps * scale)  # (2)


def is_observable(A: Inexact[Tensor, "n n"], C: Inexact[Tensor, "p n"]) -> bool:
    """Whether the output tells every state apart: the dual of `is_controllable` (5)."""
    return is_controllable(A.mH, C.mH)  # (5)


def controllability_gramian(
    A: Inexact[Tensor, "n n"], B: Inexact[Tensor, "n m"], *, discrete: bool
) -> Inexact[Tensor, "n n"]:
    """W_c of (3) or (4), by squaring: 2ᵏ terms of the sum after k rounds.

    A continuous system goes through the Cayley transform, which keeps W_c. Raises `ValueError`
    if A is not stable or the shapes do not fit.
    """
    _check(A, B)
    eigenvalues = torch.linalg.eigvals(A)
    stable = eigenvalues.abs() < 1 if discrete else eigenvalues.real < 0
    if not bool(stable.all()):
        raise ValueError(f"a Gramian needs a stable A; its eigenvalues are {eigenvalues.tolist()}")
    if not discrete:
        one = torch.eye(A.shape[0], dtype=A.dtype, device=A.device)
        A, B = torch.linalg.solve(one - A, one + A), 2**0.5 * torch.linalg.solve(one - A, B)  # (3)
    W = B @ B.mH
    while True:
        added = A @ W @ A.mH  # (4)
        W = W + added
        if added.norm() <= torch.finfo(A.dtype).eps * W.norm():
            return (W + W.mH) / 2
        A = A @ A


def observability_gramian(
    A: Inexact[Tensor, "n n"], C: Inexact[Tensor, "p n"], *, discrete: bool
) -> Inexact[Tensor, "n n"]:
    """W_o, the controllability Gramian of the dual system (5)."""
    return controllability_gramian(A.mH, C.mH, discrete=discrete)  # (5)


def _check(A: Tensor, B: Tensor) -> None:
    if A.ndim != 2 or A.shape[0] != A.shape[1] or B.ndim != 2 or B.shape[0] != A.shape[0]:
        raise ValueError(
            f"A must be (n, n) and its partner must share n; got {tuple(A.shape)} and "
            f"{tuple(B.shape)}"
        )
