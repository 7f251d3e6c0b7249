"""LRU: a linear recurrence on a complex diagonal, without continuous time or HiPPO.

    h_k = λ ⊙ h_{k−1} + γ ⊙ (B u_k)                                                     (1)
    y_k = Re(C h_k) + D ⊙ u_k                                                           (2)
    λ = exp(−e^ν + i e^θ)                                                               (3)

u and y have d channels, h holds n complex numbers shared by all of them, and |λ| < 1 whatever ν
and θ are. At the start, with p and q uniform in [0, 1),

    e^ν = −½ log(p (r_max² − r_min²) + r_min²),   e^θ = 2π q                            (4)
    γ = sqrt(1 − |λ|²)                                                                  (5)

so that λ is uniform over the area of a ring and white noise into the recurrence leaves a state of
the same size; γ is learned from there. In the letters of
`ssm_ref.linear_attention.recurrence` each number of the state is a head with the decay
g = log |λ|: what is written is turned back by the number of the token, what is read, forth.
Source: Orvieto et al. 2023, arXiv 2303.06349.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ssm_ref.expect import expect_batch, expect_counts, expect_sequence, expect_token, state_dtype
from ssm_ref.foundations.scan import linear_scan

Recurrence = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class LRUConfig:
    """Sizes, and the ring in which the eigenvalues start; Path-X wants r_min near 1, small angles.

    Args:
        d_model: channels of the input and the output.
        d_state: complex numbers of the state.
        r_min: smallest |λ| at the start.
        r_max: largest |λ| at the start.
        max_phase: largest angle of λ at the start.
    """

    d_model: int
    d_state: int = 64
    r_min: float = 0.9
    r_max: float = 0.999
    max_phase: float = 2 * math.pi

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "d_state")
        if not 0 <= self.r_min < self.r_max < 1:
            raise ValueError(
                f"0 ≤ r_min < r_max < 1 is wanted; got r_min={self.r_min}, r_max={self.r_max}"
            )
        if not 0 < self.max_phase <= 2 * math.pi:
            raise ValueError(f"max_phase must be in (0, 2π]; got {self.max_phase}")


class LRU(nn.Module):
    """An LRU layer (b, l, d) → (b, l, d); `recurrence` computes Eq. (1) for all tokens at once."""

    def __init__(self, cfg: LRUConfig, *, recurrence: Recurrence = linear_scan) -> None:
        super().__init__()
        self.cfg, self.recurrence = cfg, recurrence
        n, d = cfg.d_state, cfg.d_model
        self.nu, self.theta, self.log_gamma = (nn.Parameter(torch.empty(n)) for _ in range(3))
        self.B = nn.Parameter(torch.empty(n, d, 2))  # real and imaginary parts on the last axis
        self.C = nn.Parameter(torch.empty(d, n, 2))
        self.D = nn.Parameter(torch.empty(d))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """λ on the ring, γ that keeps the variance, B, C and D normal."""
        cfg = self.cfg
        p = torch.rand_like(self.nu, dtype=torch.float64)
        low, high = cfg.r_min**2, cfg.r_max**2
        decay = -0.5 * (p * (high - low) + low).clamp(min=1e-12).log()
        self.nu.copy_(decay.log())  # (4)
        # 1 − q is in (0, 1]: its logarithm exists.
        self.theta.copy_((cfg.max_phase * (1 - torch.rand_like(self.theta))).log())  # (4)
        self.log_gamma.copy_(0.5 * torch.log(-torch.expm1(-2 * decay)))  # (5)
        nn.init.normal_(self.B, std=(2 * cfg.d_model) ** -0.5)
        nn.init.normal_(self.C, std=cfg.d_state**-0.5)
        nn.init.normal_(self.D)

    @property
    def eigenvalues(self) -> Complex[Tensor, " n"]:
        """λ, in complex64 or wider.    (3)"""
        nu, theta = (x.to(state_dtype(x)) for x in (self.nu, self.theta))
        return torch.polar(torch.exp(-nu.exp()), theta.exp())  # (3)

    def allocate_state(self, batch: int) -> Complex[Tensor, "b n"]:
        """h_{−1} = 0."""
        expect_batch(batch)
        like = self.eigenvalues
        return torch.zeros(batch, self.cfg.d_state, dtype=like.dtype, device=like.device)

    def forward(self, u: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """The layer from an empty past."""
        return self.prefill(u, self.allocate_state(u.shape[0]))[0]

    def prefill(
        self, u: Float[Tensor, "b l d"], state: Complex[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b l d"], Complex[Tensor, "b n"]]:
        """The layer after the past in `state`, and the state after it.

        Raises `ValueError` for inputs or states that do not fit.
        """
        expect_sequence("u", u, self.cfg.d_model, self.D)
        self._expect_state(state, u.shape[0])
        h = self.recurrence(self.eigenvalues, self._drive(u), state)  # (1)
        return self._read(h, u), h[:, -1]

    def step(
        self, u_t: Float[Tensor, "b d"], state: Complex[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b d"], Complex[Tensor, "b n"]]:
        """One more token, in time and memory that do not depend on the past."""
        expect_token("u_t", u_t, self.cfg.d_model, self.D)
        self._expect_state(state, u_t.shape[0])
        h = self.eigenvalues * state + self._drive(u_t)  # (1)
        return self._read(h, u_t), h

    def _drive(self, u: Tensor) -> Tensor:
        """γ ⊙ (B u)."""
        B = torch.view_as_complex(self.B.to(state_dtype(self.B)))
        gamma = self.log_gamma.to(state_dtype(self.log_gamma)).exp()
        return gamma * (u.to(B.dtype) @ B.mT)

    def _read(self, h: Tensor, u: Tensor) -> Tensor:
        C = torch.view_as_complex(self.C.to(state_dtype(self.C)))
        return ((h @ C.mT).real + self.D * u).to(u.dtype)  # (2)

    def _expect_state(self, state: Tensor, b: int) -> None:
        wanted = (b, self.cfg.d_state)
        if not isinstance(state, Tensor) or state.shape != wanted or not state.is_complex():
            got = (
                f"{state.dtype} {tuple(state.shape)}"
                if isinstance(state, Tensor)
                else type(state).__name__
            )
            raise ValueError(f"state must be complex of shape {wanted}; got {got}")
