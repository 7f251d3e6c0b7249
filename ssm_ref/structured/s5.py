"""S5: one state space with many inputs and outputs, run by a parallel scan.

    x'(t) = Λ x(t) + B̃ u(t),   y(t) = 2·Re(C̃ x(t)) + D ⊙ u(t)                        (1)
    Λ̄ = e^{gΔΛ},   B̄ = Λ⁻¹ (Λ̄ − I) B̃                                                (2)
    x_k = Λ̄ ⊙ x_{k−1} + B̄ u_k                                                        (3)
    y_k = 2·Re(C̃ x_k) + D ⊙ u_k                                                       (4)
    o = z ⊙ σ(W z + b),   z = GELU(y)                                                 (5)

u and y have d channels, x holds n complex numbers shared by all of them (the other n are their
conjugates), and Δ is one step a state. g_k is the time since the last token, in units of Δ: one
for regular sampling. Start: Λ is block-diagonal, each block the normal part of HiPPO-LegS with
eigenvectors V, and

    B̃ = V* B,   C̃ = C V   for random real B, C.                                       (6)

In the letters of `ssm_ref.linear_attention.recurrence` each number of the state is a head with the
decay g = log |Λ̄|: what is written is turned back by the number of the token, what is read, forth.

Source: Smith, Warrington and Linderman, arXiv 2208.04933.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.expect import expect_counts, expect_sequence, expect_shape, expect_token
from ssm_ref.foundations.discretization import phi
from ssm_ref.foundations.scan import linear_scan
from ssm_ref.precision import widened
from ssm_ref.structured.hippo import normal_plus_low_rank
from ssm_ref.structured.s4d import initial_log_dt

Recurrence = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class S5Config:
    """Sizes; `d_state` counts real numbers over all `blocks`, half of them are stored."""

    d_model: int
    d_state: int = 64
    blocks: int = 1
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "d_state", "blocks")
        if self.d_state < 2 * self.blocks or self.d_state % (2 * self.blocks):
            raise ValueError(
                f"d_state={self.d_state} must be a multiple of 2 · blocks = {2 * self.blocks}"
            )
        if not 0 < self.dt_min <= self.dt_max:
            raise ValueError(f"0 < dt_min ≤ dt_max is wanted; got {self.dt_min}, {self.dt_max}")


def initial_state_space(cfg: S5Config) -> tuple[Tensor, Tensor, Tensor]:
    """Λ (n,), B̃ (n, d) and C̃ (d, n) of Eq. (6), complex128, n = d_state / 2."""
    m = cfg.d_state // cfg.blocks
    parts = normal_plus_low_rank("legs", m)
    V = torch.block_diag(*[parts.V[:, m // 2 :]] * cfg.blocks)  # d_state n
    B = torch.randn(cfg.d_state, cfg.d_model, dtype=torch.float64) / cfg.d_model**0.5
    C = torch.randn(cfg.d_model, cfg.d_state, dtype=torch.float64) / cfg.d_state**0.5
    eigenvalues = parts.eigenvalues[m // 2 :].repeat(cfg.blocks)
    return eigenvalues, V.mH @ B.to(V.dtype), C.to(V.dtype) @ V  # (6)


class S5(nn.Module):
    """An S5 layer (b, l, d) → (b, l, d). `recurrence` computes (3) for all tokens at once."""

    def __init__(self, cfg: S5Config, *, recurrence: Recurrence = linear_scan) -> None:
        super().__init__()
        self.cfg, self.recurrence = cfg, recurrence
        eigenvalues, B, C = initial_state_space(cfg)
        n = eigenvalues.shape[0]
        self.log_dt = nn.Parameter(initial_log_dt(n, cfg.dt_min, cfg.dt_max))
        self.log_decay = nn.Parameter((-eigenvalues.real).log().float())
        self.frequency = nn.Parameter(eigenvalues.imag.float())
        self.B = nn.Parameter(torch.view_as_real(B).float())
        self.C = nn.Parameter(torch.view_as_real(C).float())
        self.D = nn.Parameter(torch.randn(cfg.d_model))
        self.gate = nn.Linear(cfg.d_model, cfg.d_model)

    @property
    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that set the dynamics: train them without weight decay."""
        return {"log_dt", "log_decay", "frequency", "D"}

    def forward(
        self,
        u: Float[Tensor, "b l d"],
        state: Complex[Tensor, "b n"] | None = None,
        *,
        gaps: Float[Tensor, "b l"] | None = None,
    ) -> tuple[Float[Tensor, "b l d"], Complex[Tensor, "b n"]]:
        """The layer's output and its last state; `state` is the one to start from, else zero.

        `gaps` are the times since the token before, in units of Δ, for irregular sampling.
        Raises `ValueError` for inputs, gaps or states that do not fit.
        """
        expect_sequence("u", u, self.cfg.d_model, self.D)
        if gaps is not None:
            expect_shape("gaps", gaps, tuple(u.shape[:2]))
        self._expect_state(state, u.shape[0])
        A_bar, scale = self._discrete(gaps)
        drive = scale * (u.to(scale.dtype) @ torch.view_as_complex(widened(self.B)).mT)  # b l n
        x = self.recurrence(A_bar, drive, state)  # (3)
        return self._read(x, u), x[:, -1]

    def step(
        self,
        u_t: Float[Tensor, "b d"],
        state: Complex[Tensor, "b n"] | None = None,
        *,
        gap: Float[Tensor, " b"] | None = None,
    ) -> tuple[Float[Tensor, "b d"], Complex[Tensor, "b n"]]:
        """The output for one token and the new state: constant time and memory."""
        expect_token("u_t", u_t, self.cfg.d_model, self.D)
        if gap is not None:
            expect_shape("gap", gap, tuple(u_t.shape[:1]))
        self._expect_state(state, u_t.shape[0])
        A_bar, scale = self._discrete(gap)
        x = scale * (u_t.to(scale.dtype) @ torch.view_as_complex(widened(self.B)).mT)
        if state is not None:
            x = A_bar * state + x  # (3)
        return self._read(x, u_t), x

    def _discrete(self, gaps: Tensor | None) -> tuple[Tensor, Tensor]:
        """Λ̄ and the factor of B̃ in B̄, for every token if there are gaps (2)."""
        dt = widened(self.log_dt).exp()
        dt = dt if gaps is None else gaps[..., None] * dt
        z = dt * torch.complex(-widened(self.log_decay).exp(), widened(self.frequency))
        return z.exp(), dt * phi(z)  # (2)

    def _read(self, x: Tensor, u: Tensor) -> Tensor:
        C, D = torch.view_as_complex(widened(self.C)), widened(self.D)
        y = 2 * (x @ C.mT).real + D * widened(u)  # (4)
        z = functional.gelu(y).to(self.D.dtype)
        return z * torch.sigmoid(self.gate(z))  # (5)

    def _expect_state(self, state: Tensor | None, b: int) -> None:
        wanted = (b, self.cfg.d_state // 2)
        if state is not None and (state.shape != wanted or not state.is_complex()):
            raise ValueError(
                f"state must be complex of shape {wanted}; got {state.dtype} {tuple(state.shape)}"
            )
