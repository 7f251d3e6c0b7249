"""S4: a state matrix that is diagonal plus low rank, its kernel by generating functions.

    A = Λ − Σ_r P_r P_r*,  one system a channel                                      (1)
    Ā = (I − ½ΔA)⁻¹ (I + ½ΔA),  B̄ = (I − ½ΔA)⁻¹ ΔB                                   (2)
    K_i = C Āⁱ B̄                                                                     (3)

The kernel is read from its values at the roots of unity z, where the sum of L terms is closed:

    K̂(z) = Σ_{i<L} K_i zⁱ = C̃ (I − z Ā)⁻¹ B̄,   C̃ = C (I − Ā^L)                       (4)
    K̂(z) = k_CB − k_CP (1 + z₊ k_PP)⁻¹ z₊ k_PB,   z₊ = (1 + z)/2                      (5)
    k_XY(z) = Σ_n X_n Y_n / ((1 − z)/Δ − z₊ Λ_n)                                      (6)

(5) is the Woodbury identity, here for one P; with several it is applied for one after another.
(6) is a Cauchy kernel multiplied through by 1 + z, so that z = −1 is no special case. One step of
the recurrence costs O(n), since (I − ½ΔA)⁻¹ is diagonal plus low rank as well:

    v = h + ½Δ(Λ h − P (P* h)) + Δ B u                                                (7)
    h ← E v − E P (2/Δ + P* E P)⁻¹ (P* E v),   E = (1 − ½ΔΛ)⁻¹                         (8)
    y = 2·Re(C h) + D u,   o = GLU(W · GELU(y) + b)                                   (9)

Ā is a diagonal minus rank one: an erasing case of `ssm_ref.linear_attention.recurrence`, complex
and the same for every token.

All vectors hold one of each conjugate pair; sums over the state add the conjugate half. What is
trained is C̃, which ties it to the kernel length L; C is recovered from (4).

Sources: Gu, Goel and Ré, arXiv 2111.00396; A = Λ − P P* after arXiv 2202.09729. The published code
clips Im B at 2 on top, which moves the start away from HiPPO; nothing is clipped here.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.expect import expect_counts, expect_sequence, expect_token
from ssm_ref.foundations.convolution import fft_convolution
from ssm_ref.precision import widened
from ssm_ref.structured.hippo import Measure, normal_plus_low_rank
from ssm_ref.structured.s4d import initial_log_dt

WINDOW = 2.0  # of LegT and Fourier in steps of time 1, as published; Δ scales it
LEAST_DECAY = 1e-4  # only LegS has one of its own, and log 0 cannot be trained


class DPLR(NamedTuple):
    """Halves of a diagonal-plus-low-rank system a channel."""

    eigenvalues: Complex[Tensor, "d n"]
    P: Complex[Tensor, "r d n"]
    B: Complex[Tensor, "d n"]
    dt: Float[Tensor, " d"]


def kernel_from_generating_function(
    system: DPLR, C_tilde: Complex[Tensor, "d n"], l: int
) -> Float[Tensor, "d l"]:
    """The kernel of length `l` from its values at the roots of unity (4) to (6): Õ(n + l) terms."""
    if l < 1 or C_tilde.shape != system.B.shape:
        raise ValueError(
            f"C_tilde must have shape {tuple(system.B.shape)} and l be at least 1; "
            f"got {tuple(C_tilde.shape)} and {l}"
        )
    half = l // 2 + 1  # the kernel is real, so half of the circle suffices
    turn = torch.arange(half, device=system.dt.device, dtype=system.dt.dtype)
    z = torch.exp(-2j * math.pi / l * turn)
    z_plus = (1 + z) / 2
    base = (1 - z) / system.dt[:, None]  # d k
    L, P, B = system.eigenvalues, system.P, system.B
    X, Y = torch.cat([C_tilde[None], P.conj()]), torch.cat([B[None], P])  # 1+r d n
    rows = X[:, None] * Y  # 1+r 1+r d n
    k = _cauchy(rows, L, base, z_plus) + _cauchy(rows.conj(), L.conj(), base, z_plus)  # (6)
    for _ in range(P.shape[0]):  # take one P after another out of the table
        last = k[-1:, -1:]
        k = k[:-1, :-1] - k[:-1, -1:] * z_plus * k[-1:, :-1] / (1 + z_plus * last)  # (5)
    return torch.fft.irfft(k[0, 0], n=l, dim=-1)  # (4)


def _cauchy(rows: Tensor, eigenvalues: Tensor, base: Tensor, z_plus: Tensor) -> Tensor:
    denominator = base[:, None, :] - eigenvalues[..., None] * z_plus  # d n k
    return torch.einsum("xydn,dnk->xydk", rows, 1 / denominator)


def dense(system: DPLR) -> tuple[Complex[Tensor, "d m m"], Complex[Tensor, "d m"]]:
    """Ā and B̄ of (2) as full matrices over both halves of the state, m = 2n: the definition."""
    L = torch.cat([system.eigenvalues, system.eigenvalues.conj()], dim=-1)
    P = torch.cat([system.P, system.P.conj()], dim=-1)
    B = torch.cat([system.B, system.B.conj()], dim=-1)
    A = torch.diag_embed(L) - torch.einsum("rdm,rdk->dmk", P, P.conj())  # (1)
    one = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device)
    dt = system.dt[:, None, None]
    both = torch.cat([one + dt / 2 * A, (dt * B[..., None])], dim=-1)
    solved = torch.linalg.solve(one - dt / 2 * A, both)  # (2)
    return solved[..., :-1], solved[..., -1]


def krylov(
    A_bar: Complex[Tensor, "d m m"], b: Complex[Tensor, "... d m"], l: int
) -> Complex[Tensor, "... d m l"]:
    """b, Āb, …, Ā^{l−1}b, doubling the number known in every round."""
    if l < 1 or A_bar.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"b must have {A_bar.shape[-1]} numbers and l be at least 1; got {tuple(b.shape)}, {l}"
        )
    columns = b[..., None]
    while columns.shape[-1] < l:
        columns = torch.cat([columns, A_bar @ columns], dim=-1)
        A_bar = A_bar @ A_bar
    return columns[..., :l]


def step(
    system: DPLR, h: Complex[Tensor, "b d n"], u_t: Float[Tensor, "b d"]
) -> Complex[Tensor, "b d n"]:
    """One step of the recurrence in O(n) (7), (8)."""
    L, P, B = system.eigenvalues, system.P, system.B
    expect_token("u_t", u_t, B.shape[0])
    if h.shape != (u_t.shape[0], *B.shape) or not h.is_complex():
        wanted = (u_t.shape[0], *B.shape)
        raise ValueError(f"h must be complex of shape {wanted}; got {h.dtype} {tuple(h.shape)}")
    dt = system.dt[:, None]
    E = 1 / (1 - dt / 2 * L)
    seen = 2 * torch.einsum("rdn,bdn->bdr", P.conj(), h).real  # P* h: the other half conjugate
    v = h + dt / 2 * (L * h - _along(P, seen)) + dt * B * u_t[..., None]  # (7)
    seen = 2 * torch.einsum("rdn,bdn->bdr", P.conj() * E, v).real
    inner = 2 * torch.einsum("rdn,sdn->drs", P.conj() * E, P).real  # P* E P
    inner = inner + torch.diag_embed((2 / dt).expand(-1, P.shape[0]))
    return E * (v - _along(P, torch.linalg.solve(inner, seen[..., None])[..., 0]))  # (8)


def _along(P: Tensor, weights: Tensor) -> Tensor:
    """Σ_r P_r weights_r, for weights (b, d, r)."""
    return torch.einsum("rdn,bdr->bdn", P, weights.to(P.dtype))


@dataclass(frozen=True, kw_only=True, slots=True)
class S4Config:
    """Sizes; `l_max` is the kernel length that C̃ belongs to.

    `measure` is the HiPPO matrix to start from, and `rank` the number of vectors P: as many as it
    needs (two for LegT, else one), or more. More start at zero as published, where the gradient of
    Eq. (1) is zero too: they are for matrices that come with more.
    """

    d_model: int
    l_max: int
    d_state: int = 64
    measure: Measure | str = Measure.LEGS
    rank: int | None = None
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "l_max")
        if self.d_state < 2 or self.d_state % 2:
            raise ValueError(f"d_state must be even and at least 2; got {self.d_state}")
        if not 0 < self.dt_min <= self.dt_max:
            raise ValueError(f"0 < dt_min ≤ dt_max is wanted; got {self.dt_min}, {self.dt_max}")
        needed = normal_plus_low_rank(self.measure, 2).P.shape[0]
        if self.rank is not None and self.rank < needed:
            raise ValueError(f"rank must be at least {needed} for {self.measure}; got {self.rank}")


class S4(nn.Module):
    """An S4 layer (b, l, d) → (b, l, d) that starts from HiPPO.

    Any length works: up to `l_max` the kernel is cut, beyond it C̃ is carried to 2 l_max, 4 l_max, …
    """

    def __init__(self, cfg: S4Config) -> None:
        super().__init__()
        self.cfg = cfg
        d, n = cfg.d_model, cfg.d_state // 2
        parts = normal_plus_low_rank(cfg.measure, cfg.d_state, theta=WINDOW)
        kind = torch.promote_types(torch.get_default_dtype(), torch.complex64)
        half = [part[..., None, n:].to(kind) for part in parts[:3]]  # one of each pair
        eigenvalues, P, B = (torch.cat([part] * d, dim=-2) for part in half)
        if cfg.rank is not None:
            P = torch.cat([P, P.new_zeros(cfg.rank - P.shape[0], d, n)])
        self.log_dt = nn.Parameter(initial_log_dt(d, cfg.dt_min, cfg.dt_max))
        self.log_decay = nn.Parameter((-eigenvalues.real).clamp(min=LEAST_DECAY).log())
        self.frequency = nn.Parameter(eigenvalues.imag.clone())
        self.P = nn.Parameter(torch.view_as_real(P).clone())  # r d n 2
        self.B = nn.Parameter(torch.view_as_real(B).clone())
        C = torch.randn(d, n, dtype=kind)
        with torch.no_grad():
            C_tilde = _times_one_minus_power(self.system(), C, cfg.l_max)  # (4)
        self.C_tilde = nn.Parameter(torch.view_as_real(C_tilde).clone())
        self.D = nn.Parameter(torch.randn(d))
        self.mix = nn.Linear(d, 2 * d)

    @property
    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that set the dynamics: train them without weight decay."""
        return {"log_dt", "log_decay", "frequency", "P", "B", "D"}

    def system(self) -> DPLR:
        """Λ, P, B and Δ; the real part of Λ is negative whatever the optimiser does (1)."""
        eigenvalues = torch.complex(-widened(self.log_decay).exp(), widened(self.frequency))
        P, B = (torch.view_as_complex(widened(x)) for x in (self.P, self.B))
        return DPLR(eigenvalues, P, B, widened(self.log_dt).exp())

    def C(self) -> Complex[Tensor, "d n"]:
        """The output matrix of the recurrence, C̃ (I − Ā^L)⁻¹ (4)."""
        A_bar, _ = dense(self.system())
        one = torch.eye(A_bar.shape[-1], dtype=A_bar.dtype, device=A_bar.device)
        C = torch.view_as_complex(widened(self.C_tilde))
        rest = one - torch.linalg.matrix_power(A_bar, self.cfg.l_max)
        row = torch.cat([C, C.conj()], dim=-1)[:, None]
        return torch.linalg.solve(rest, row, left=False)[:, 0, : C.shape[-1]]

    def kernel(self, l: int) -> Float[Tensor, "d l"]:
        """The first `l` taps (3), without D."""
        if l < 1:
            raise ValueError(f"a kernel needs l ≥ 1 taps; got {l}")
        system, length = self.system(), self.cfg.l_max
        C_tilde = torch.view_as_complex(widened(self.C_tilde))
        if length < l:
            while length < l:
                length *= 2
            C_tilde = _times_one_minus_power(system, self.C(), length)
        return kernel_from_generating_function(system, C_tilde, length)[:, :l]  # (3)

    def forward(
        self, u: Float[Tensor, "b l d"], state: Complex[Tensor, "b d n"] | None = None
    ) -> tuple[Float[Tensor, "b l d"], Complex[Tensor, "b d n"]]:
        """The layer's output and its last state; `state` is the one to start from, else zero.

        Raises `ValueError` for inputs or states that do not fit.
        """
        expect_sequence("u", u, self.cfg.d_model, self.D)
        b, l, _ = u.shape
        y, u = self._convolved(u), widened(u)
        n = self.cfg.d_state // 2
        A_bar, B_bar = dense(self.system())
        written = torch.einsum("dml,bld->bdm", krylov(A_bar, B_bar, l).flip(-1), u.to(B_bar.dtype))
        if state is None:
            return self._mix(y), written[..., :n]
        self._expect_state(state, b)
        C = self.C()
        row = torch.cat([C, C.conj()], dim=-1)
        reads = krylov(A_bar.mT, (row[:, None] @ A_bar)[:, 0], l)  # C Ā^{k+1}
        h = torch.cat([state, state.conj()], dim=-1)
        y = y + torch.einsum("dml,bdm->bld", reads, h).real
        faded = torch.linalg.matrix_power(A_bar, l) @ h[..., None]
        return self._mix(y), (faded[..., 0] + written)[..., :n]

    def outputs(self, u: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """`forward` from an empty past without the last state, which costs more than the outputs.

        Raises `ValueError` for inputs that do not fit.
        """
        expect_sequence("u", u, self.cfg.d_model, self.D)
        return self._mix(self._convolved(u))

    def step(
        self,
        u_t: Float[Tensor, "b d"],
        state: Complex[Tensor, "b d n"] | None = None,
        *,
        C: Complex[Tensor, "d n"] | None = None,
    ) -> tuple[Float[Tensor, "b d"], Complex[Tensor, "b d n"]]:
        """The output for one token and the new state; hand in `layer.C()` to compute it once."""
        expect_token("u_t", u_t, self.cfg.d_model, self.D)
        u_t, D = widened(u_t), widened(self.D)
        system = self.system()
        if state is None:
            shape = (u_t.shape[0], *system.B.shape)
            state = torch.zeros(shape, dtype=system.B.dtype, device=u_t.device)
        self._expect_state(state, u_t.shape[0])
        state = step(system, state, u_t)
        y = 2 * ((self.C() if C is None else C) * state).real.sum(-1) + D * u_t  # (9)
        return self._mix(y), state

    def _convolved(self, u: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        u = widened(u)
        return fft_convolution(u, self.kernel(u.shape[1])) + widened(self.D) * u

    def _mix(self, y: Tensor) -> Tensor:
        return functional.glu(self.mix(functional.gelu(y).to(self.D.dtype)), dim=-1)  # (9)

    def _expect_state(self, state: Tensor, b: int) -> None:
        wanted = (b, self.cfg.d_model, self.cfg.d_state // 2)
        if state.shape != wanted or not state.is_complex():
            raise ValueError(
                f"state must be complex of shape {wanted}; got {state.dtype} {tuple(state.shape)}"
            )


def _times_one_minus_power(
    system: DPLR, C: Complex[Tensor, "d n"], length: int
) -> Complex[Tensor, "d n"]:
    """C̃ = C (I − Ā^length), its first half (4)."""
    A_bar, _ = dense(system)
    row = torch.cat([C, C.conj()], dim=-1)[:, None]
    return (row - row @ torch.linalg.matrix_power(A_bar, length))[:, 0, : C.shape[-1]]
