"""Discretization: from x'(t) = A x(t) + B u(t) to a recurrence with step Δ.

Every rule here is one instance of

    x_k = Ā x_{k−1} + B̄ u_k + B̄₋ u_{k−1},                       (1)

where u_k is the input at the right end of the step (deep learning's convention; textbooks put
u_{k−1} in its place) and B̄₋ is zero for all rules but the last two.

    bilinear, any α:   Ā = (I − αΔA)⁻¹ (I + (1−α)ΔA),  B̄ = (I − αΔA)⁻¹ ΔB    (2)
        α = 0 forward Euler, α = 1 backward Euler, α = ½ the bilinear rule (Tustin)
    zero-order hold:   Ā = e^{ΔA},  B̄ = A⁻¹ (e^{ΔA} − I) B = Δ φ(ΔA) B        (3)
    exponential-Euler: Ā = e^{ΔA},  B̄ = ΔB                                    (4)
    trapezoid:         Ā and B̄ of (2) at α = ½, halved: B̄ = B̄₋ = ½(I − ½ΔA)⁻¹ ΔB   (5)
    exponential-trapezoidal: Ā = e^{ΔA},  B̄ = λΔB,  B̄₋ = (1−λ)Δ e^{ΔA} B      (6)

    φ(z) = (e^z − 1)/z,  φ(0) = 1.                                            (7)

A token's trace halves every ln 2 / (−Re a Δ) steps.                          (8)

Sources: the table of rules is that of Mamba-3, arXiv 2603.15569, Table 1; S4, arXiv 2111.00396
(bilinear); S4D, arXiv 2206.11893 (zero-order hold).
"""

import math
from enum import StrEnum
from typing import NamedTuple

import torch
from jaxtyping import Float, Inexact
from torch import Tensor


class Rule(StrEnum):
    """The discretization rules of this module."""

    FORWARD_EULER = "forward_euler"
    BACKWARD_EULER = "backward_euler"
    BILINEAR = "bilinear"
    ZOH = "zoh"
    EXPONENTIAL_EULER = "exponential_euler"
    TRAPEZOID = "trapezoid"
    EXPONENTIAL_TRAPEZOIDAL = "exponential_trapezoidal"


ALPHA = {Rule.FORWARD_EULER: 0.0, Rule.BACKWARD_EULER: 1.0, Rule.BILINEAR: 0.5}


class Discrete(NamedTuple):
    """Ā, B̄ and B̄₋ of Eq. (1)."""

    A_bar: Inexact[Tensor, "..."]
    B_bar: Inexact[Tensor, "..."]
    B_prev: Inexact[Tensor, "..."]


def discretize(
    A: Inexact[Tensor, "n n"],
    B: Inexact[Tensor, "n m"],
    dt: float,
    rule: Rule | str = Rule.ZOH,
    *,
    lam: float = 0.5,
) -> Discrete:
    """Ā (n, n), B̄ and B̄₋ (n, m) of a dense system by any rule; `lam` is the λ of Eq. (6).

    A may be singular. Raises `ValueError` for shapes that do not fit, a step that is not positive
    and an unknown rule.
    """
    rule = _known(rule)
    if A.ndim != 2 or A.shape[0] != A.shape[1] or B.ndim != 2 or B.shape[0] != A.shape[0]:
        raise ValueError(
            f"A must be (n, n) and B (n, m); got {tuple(A.shape)} and {tuple(B.shape)}"
        )
    for name, x in (("A", A), ("B", B)):
        if not (x.is_floating_point() or x.is_complex()):
            raise ValueError(f"{name} must be floating point or complex; got {x.dtype}")
    if not dt > 0:
        raise ValueError(f"dt must be positive; got {dt}")
    n = A.shape[0]
    none = torch.zeros_like(B)
    match rule:
        case Rule.FORWARD_EULER | Rule.BACKWARD_EULER | Rule.BILINEAR:
            A_bar, B_bar = generalized_bilinear(A, B, dt, ALPHA[rule])
            return Discrete(A_bar, B_bar, none)
        case Rule.TRAPEZOID:
            A_bar, B_bar = generalized_bilinear(A, B, dt, 0.5)
            return Discrete(A_bar, B_bar / 2, B_bar / 2)  # (5)
        case Rule.ZOH:
            # One exponential of [[A, B], [0, 0]] gives both parts without inverting A.
            both = torch.matrix_exp(
                torch.nn.functional.pad(torch.cat([A, B], 1) * dt, (0, 0, 0, B.shape[1]))
            )
            return Discrete(both[:n, :n], both[:n, n:], none)  # (3)
        case Rule.EXPONENTIAL_EULER:
            return Discrete(torch.matrix_exp(dt * A), dt * B, none)  # (4)
        case Rule.EXPONENTIAL_TRAPEZOIDAL:
            A_bar = torch.matrix_exp(dt * A)
            return Discrete(A_bar, lam * dt * B, (1 - lam) * dt * A_bar @ B)  # (6)


def generalized_bilinear(
    A: Inexact[Tensor, "n n"], B: Inexact[Tensor, "n m"], dt: float, alpha: float
) -> tuple[Inexact[Tensor, "n n"], Inexact[Tensor, "n m"]]:
    """Ā and B̄ of the bilinear rule with weight `alpha` on the new end of the step (2)."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1]; got {alpha}")
    one = torch.eye(A.shape[0], dtype=A.dtype, device=A.device)
    implicit = one - alpha * dt * A
    A_bar = torch.linalg.solve(implicit, one + (1 - alpha) * dt * A)  # (2)
    return A_bar, torch.linalg.solve(implicit, dt * B)  # (2)


def discretize_diagonal(
    A: Inexact[Tensor, "..."],
    B: Inexact[Tensor, "..."],
    dt: Float[Tensor, "..."],
    rule: Rule | str = Rule.ZOH,
    *,
    lam: float | Float[Tensor, "..."] = 0.5,
) -> Discrete:
    """Eqs. (2) to (6) for a diagonal A, given and returned as its entries.

    A, B, `dt` and `lam` broadcast, so a step for every token is as good as one for all. Every
    rule is smooth at A = 0.
    """
    rule = _known(rule)
    z = dt * A
    none = torch.zeros_like(z * B)
    match rule:
        case Rule.FORWARD_EULER | Rule.BACKWARD_EULER | Rule.BILINEAR:
            alpha = ALPHA[rule]
            return Discrete(
                (1 + (1 - alpha) * z) / (1 - alpha * z), dt * B / (1 - alpha * z), none
            )  # (2)
        case Rule.TRAPEZOID:
            half = dt * B / (2 - z)
            return Discrete((1 + z / 2) / (1 - z / 2), half, half)  # (5)
        case Rule.ZOH:
            return Discrete(z.exp(), dt * phi(z) * B, none)  # (3)
        case Rule.EXPONENTIAL_EULER:
            return Discrete(z.exp(), dt * B + none, none)  # (4)
        case Rule.EXPONENTIAL_TRAPEZOIDAL:
            return Discrete(z.exp(), lam * dt * B + none, (1 - lam) * dt * z.exp() * B)  # (6)


def phi(z: Inexact[Tensor, "..."]) -> Inexact[Tensor, "..."]:
    """(e^z − 1)/z, elementwise, exact to rounding at and near zero, as are its gradients (7)."""
    small = z.abs() < 1e-4
    safe = torch.where(small, torch.ones_like(z), z)  # keeps 0/0 out of the backward pass
    series = 1 + z / 2 * (1 + z / 3 * (1 + z / 4 * (1 + z / 5)))
    return torch.where(small, series, torch.expm1(safe) / safe)  # (7)


def run_discrete(
    system: Discrete,
    u: Inexact[Tensor, "l m"],
    u_before: Inexact[Tensor, " m"],
    x: Inexact[Tensor, " n"],
) -> Inexact[Tensor, "l n"]:
    """The states of Eq. (1) for a dense system; `u_before` is the input at the initial time."""
    states = []
    for u_k in u:
        x = system.A_bar @ x + system.B_bar @ u_k + system.B_prev @ u_before  # (1)
        u_before = u_k
        states.append(x)
    return torch.stack(states)


def half_life(A: Inexact[Tensor, "..."], dt: float | Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Steps until e^{ΔA} has halved what a token left in the state (8)."""
    decay = -(A.real if A.is_complex() else A)
    return math.log(2) / (decay * dt)  # (8)


def _known(rule: Rule | str) -> Rule:
    try:
        return Rule(rule)
    except ValueError as error:
        raise ValueError(f"unknown rule {rule!r}; choose from {[r.value for r in Rule]}") from error
