"""Mamba-3: a better rule of integration, a state that turns, and several inputs at once.

    [z, x, B, C, dt, A, λ, θ] = W_in u    (1)
    Δ = softplus(dt + b_Δ),  A = -max(f(A), A_floor),  λ = σ(λ),  θ = π tanh(θ)    (2)
    B = norm(B) + b_B,  C = norm(C) + b_C    (3)
    φ_t = φ_{t-1} + Δ_t θ_t;  B_t, C_t turned by φ_t in pairs of channels    (4)
    H_t = α_t H_{t-1} + β_t x_{t-1} B_{t-1}ᵀ + γ_t x_t B_tᵀ    (5)
    α_t = e^{Δ_t A_t},  β_t = (1 - λ_t) Δ_t α_t,  γ_t = λ_t Δ_t    (6)
    y_t = H_t C_t + D x_t;  out = W_out (y ⊙ SiLU(z))    (7)

Eq. (5) is the exponential-trapezoidal rule: λ = 1 is Mamba-2, λ = 1/2 the trapezoid. Turning B and
C equals turning the state, so a real state does the work of a complex one. There is no convolution.
With rank r > 1 (MIMO) a head has r vectors B, C and, from learned vectors, r versions of x and z:

    x_r = x ⊙ m^x_r,  H_t = … + γ_t Σ_r x_{t,r} B_{t,r}ᵀ,
    y_t = Σ_r m^o_r ⊙ (H_t C_{t,r} + D x_{t,r}) ⊙ SiLU(z ⊙ m^z_r)    (8)

Unrolled, every past write has the weight c_s = γ_s + (1 - λ_{s+1}) Δ_{s+1}, the present one γ_t:

    y_t = Σ_{s<t} α_t … α_{s+1} c_s x_s (B_sᵀ C_t) + γ_t x_t (B_tᵀ C_t)    (9)

which chunks compute as matrix products. So in the letters of
`ssm_ref.linear_attention.recurrence` the key is c B, and the present token, as in RWKV-6, has a
weight of its own. The state is (φ, H, turned B and x of the last token).
Source: Lahoti et al. 2026, arXiv 2603.15569, and the published code: f(x) = 1 + x for x ≥ 0 and
1 / (1 - x) below; at release it was softplus.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.attention.transformer import SwiGLU
from ssm_ref.causal_layer import CausalLayer
from ssm_ref.expect import (
    expect_axes,
    expect_batch,
    expect_counts,
    expect_shape,
    expect_token,
    state_dtype,
)
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.norm import RMSNorm
from ssm_ref.precision import without_autocast
from ssm_ref.selective.ssd import segsum
from ssm_ref.selective.step_size import draw_dt_bias

# Weights of as many chunks as this are made at once: 1 MiB of float32 stays in a cache.
SPAN_SIZE = 262_144


class Inputs(NamedTuple):
    """What Eq. (5) reads: everything turned, projected and in one dtype."""

    x: Float[Tensor, "b l h r p"]
    B: Float[Tensor, "b l h r n"]
    C: Float[Tensor, "b l h r n"]
    dt: Float[Tensor, "b l h"]
    A: Float[Tensor, "b l h"]
    lam: Float[Tensor, "b l h"]


class Past(NamedTuple):
    """H, and the last token's x and turned B."""

    H: Float[Tensor, "b h p n"]
    x: Float[Tensor, "b h r p"]
    B: Float[Tensor, "b h r n"]


AXES = "x blhrp, B blhrn, C blhrn, dt blh, A blh, lam blh, H bhpn, past_x bhrp, past_B bhrn"

Scan = Callable[[Inputs, Past], tuple[Tensor, Tensor]]


def trapezoidal_recurrence(
    inputs: Inputs, past: Past
) -> tuple[Float[Tensor, "b l h r p"], Float[Tensor, "b h p n"]]:
    """H_t C_{t,r} of Eqs. (5) and (6) token by token, and the last H: the definition."""
    expect_axes(AXES, *inputs, *past)
    (H, x_before, B_before), ys = past, []
    for x, B, C, dt, A, lam in zip(*(part.unbind(dim=1) for part in inputs), strict=True):
        alpha = (dt * A).exp()[..., None, None]
        beta = ((1 - lam) * dt)[..., None, None] * alpha
        gamma = (lam * dt)[..., None, None]  # (6)
        before, now = x_before.mT @ B_before, x.mT @ B  # b h p n
        H = alpha * H + beta * before + gamma * now  # (5)
        ys.append(C @ H.mT)
        x_before, B_before = x, B
    return torch.stack(ys, dim=1), H


def trapezoidal_chunked(
    inputs: Inputs, past: Past, *, chunk_size: int | None = None
) -> tuple[Float[Tensor, "b l h r p"], Float[Tensor, "b h p n"]]:
    """The same by Eq. (9) in chunks: O(l · chunk_size) time, in matrix products.

    The chunk size changes cost and rounding, never the answer; 32 / r places when not given, but
    at least 16.
    """
    expect_axes(AXES, *inputs, *past)
    b, l, h, r, _ = inputs.x.shape
    size = max(16, 32 // r) if chunk_size is None else chunk_size
    if size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {size}")
    # At a symbolic length a compiled graph takes wrong strides for a chunk of symbolic size.
    q = size if torch.compiler.is_compiling() else min(size, l)
    x, B, C, dt, A, lam = inputs
    if torch.compiler.is_compiling() or l % q:  # padding by nothing would still copy everything
        # Padding has Δ = 0: it neither decays the state nor writes to it.
        x, B, C, dt, A, lam = (F.pad(part, (*[0] * (2 * part.ndim - 3), -l % q)) for part in inputs)
    gamma, lead = lam * dt, (1 - lam) * dt
    c = gamma + F.pad(lead[:, 1:], (0, 0, 0, 1))
    G = past.H + lead[:, 0, :, None, None] * (past.x.mT @ past.B)
    span = q * max(1, SPAN_SIZE // max(1, b * h * (q * r) ** 2))
    ys = []
    spans = (t.split(span, dim=1) for t in (x, B, C, dt * A, c, gamma))
    for xs, Bs, Cs, a, cs, gammas in zip(*spans, strict=True):
        y, G = _span(xs, Bs, Cs, a, cs, gammas, G, q=q)
        ys.append(y)
    return torch.cat(ys, dim=1).flatten(1, 2)[:, :l], G


def _span(
    x: Float[Tensor, "b l h r p"],
    B: Float[Tensor, "b l h r n"],
    C: Float[Tensor, "b l h r n"],
    a: Float[Tensor, "b l h"],
    c: Float[Tensor, "b l h"],
    gamma: Float[Tensor, "b l h"],
    G: Float[Tensor, "b h p n"],
    *,
    q: int,
) -> tuple[Float[Tensor, "b c q h r p"], Float[Tensor, "b h p n"]]:
    """Eq. (9) in a few chunks of q places after the state G, and the state after them."""
    r = x.shape[3]
    # Rank before place: what the ranks of a place share is then broadcast over whole rows.
    rows = (t.unflatten(1, (-1, q)).permute(0, 3, 1, 4, 2, 5).flatten(3, 4) for t in (x, B, C))
    x, B, C = rows  # b h c rq n
    a, c, gamma = (t.mT.unflatten(2, (-1, q)) for t in (a, c, gamma))  # b h c q
    log_L = segsum(a)  # b h c t s
    weight = torch.diagonal_scatter(log_L.exp() * c[..., None, :], gamma, dim1=-2, dim2=-1)
    kept, decay = log_L[..., -1, :].exp() * c, a.cumsum(dim=-1).exp()
    scores = (C @ B.mT).unflatten(4, (r, q)).unflatten(3, (r, q)) * weight[..., None, :, None, :]
    writes = (x.unflatten(3, (r, q)) * kept[..., None, :, None]).flatten(3, 4).mT @ B
    starts = []
    ends = decay[..., -1, None, None].unbind(dim=2)
    for end, write in zip(ends, writes.unbind(dim=2), strict=True):
        starts.append(G)
        G = torch.addcmul(write, end, G)
    within, read = scores.flatten(5, 6).flatten(3, 4) @ x, C @ torch.stack(starts, dim=2).mT
    within, read = (t.unflatten(3, (r, q)) for t in (within, read))
    y = torch.addcmul(within, decay[..., None, :, None], read)  # (9)
    return y.permute(0, 2, 4, 1, 3, 5), G


def turn(
    v: Float[Tensor, "b l h r n"], phi: Float[Tensor, "b l h s"], *, adjacent: bool
) -> Float[Tensor, "b l h r n"]:
    """The first s pairs of v turned by phi: pairs (2i, 2i+1), or (i, i + n/2).    (4)"""
    half = v.shape[-1] // 2
    first, second = (v[..., 0::2], v[..., 1::2]) if adjacent else v.split(half, dim=-1)
    phi = F.pad(phi, (0, half - phi.shape[-1]))[:, :, :, None]
    cos, sin = phi.cos(), phi.sin()
    pair = (first * cos - second * sin, first * sin + second * cos)  # (4)
    return torch.stack(pair, dim=-1).flatten(-2) if adjacent else torch.cat(pair, dim=-1)


def heavy_tail(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """f(x) = 1 + x for x ≥ 0 and 1 / (1 - x) below: positive and smooth at 0."""
    return torch.where(x >= 0, 1 + x, 1 / (1 - x.clamp(max=0)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Mamba3Config:
    """Sizes and options of one Mamba-3 block; `mimo_rank=None` is SISO."""

    d_model: int
    d_state: int = 128
    expand: int = 2
    d_head: int = 64
    n_groups: int = 1
    mimo_rank: int | None = None
    rope_fraction: float = 0.5
    dt_min: float = 1e-3
    dt_max: float = 1e-1
    dt_floor: float = 1e-4
    A_floor: float = 1e-4
    A_activation: Literal["heavy_tail", "softplus"] = "heavy_tail"
    out_norm: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "d_state", "expand", "d_head", "n_groups", "mimo_rank")
        if self.d_inner % self.d_head:
            raise ValueError(f"d_head={self.d_head} must divide expand · d_model = {self.d_inner}")
        if self.n_heads % self.n_groups:
            raise ValueError(f"n_groups={self.n_groups} must divide the {self.n_heads} heads")
        if self.d_state % 2 or not 1 <= self.n_angles <= self.d_state // 2:
            raise ValueError(
                f"d_state must be even and rope_fraction turn 1 … d_state / 2 pairs; "
                f"got {self.d_state} and {self.rope_fraction}"
            )
        if self.A_activation not in ("heavy_tail", "softplus"):
            raise ValueError(
                f"A_activation must be heavy_tail or softplus; got {self.A_activation!r}"
            )

    @property
    def d_inner(self) -> int:
        """Channels h · p."""
        return self.expand * self.d_model

    @property
    def n_heads(self) -> int:
        """Heads h."""
        return self.d_inner // self.d_head

    @property
    def rank(self) -> int:
        """Inputs and outputs of a head, r."""
        return self.mimo_rank or 1

    @property
    def n_angles(self) -> int:
        """Pairs of channels that turn, shared by all heads."""
        return int(self.d_state * self.rope_fraction) // 2

    @property
    def split(self) -> tuple[int, ...]:
        """Widths of the parts of Eq. (1)."""
        bc, h = self.n_groups * self.rank * self.d_state, self.n_heads
        return (self.d_inner, self.d_inner, bc, bc, h, h, h, self.n_angles)


class Mamba3State(NamedTuple):
    """What one Mamba-3 layer keeps: phases, H, and the last token's turned B and x."""

    phase: Float[Tensor, "b h s"]
    ssm: Float[Tensor, "b h p n"]
    B: Float[Tensor, "b h r n"]
    x: Float[Tensor, "b h p"]


class Mamba3(CausalLayer):
    """The Mamba-3 block, SISO or MIMO, Eqs. (1) to (8); `scan` as `trapezoidal_recurrence`."""

    def __init__(self, cfg: Mamba3Config, *, scan: Scan = trapezoidal_chunked) -> None:
        super().__init__()
        self.cfg, self.scan = cfg, scan
        h, r, n, p = cfg.n_heads, cfg.rank, cfg.d_state, cfg.d_head
        self.in_proj = nn.Linear(cfg.d_model, sum(cfg.split), bias=False)
        self.dt_bias = nn.Parameter(torch.empty(h))
        self.B_bias, self.C_bias = (nn.Parameter(torch.ones(h, r, n)) for _ in range(2))
        self.B_norm, self.C_norm = RMSNorm(n), RMSNorm(n)
        self.D = nn.Parameter(torch.ones(h))
        if cfg.mimo_rank is not None:
            self.mimo_x = nn.Parameter(torch.ones(h, r, p) / r)
            self.mimo_z = nn.Parameter(torch.ones(h, r, p))
            self.mimo_o = nn.Parameter(torch.ones(h, r, p) / r)
        self.norm = RMSNorm(p, affine=False) if cfg.out_norm else None
        self.norm_weight = nn.Parameter(torch.ones(cfg.d_inner)) if cfg.out_norm else None
        self.out_proj = nn.Linear(cfg.d_inner, cfg.d_model, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Δ log-uniform in dt_min … dt_max; everything else is set where it is made."""
        cfg = self.cfg
        draw_dt_bias(self.dt_bias, dt_min=cfg.dt_min, dt_max=cfg.dt_max, dt_floor=cfg.dt_floor)

    @property
    def reads(self) -> tuple[int, Tensor]:
        """Channels of an input, and a weight whose dtype and device it must have."""
        return self.cfg.d_model, self.B_bias

    def step(
        self, u: Float[Tensor, "b m"], state: Mamba3State
    ) -> tuple[Float[Tensor, "b m"], Mamba3State]:
        """The block for one more token, in time and memory that do not depend on the past."""
        expect_token("u", u, *self.reads)
        self._check_state(state, u.shape[0])
        y, state = self._through(trapezoidal_recurrence, u[:, None], state)
        return y[:, 0], state

    def allocate_state(self, batch: int) -> Mamba3State:
        """The state of an empty past: zeros, in float32 or wider."""
        expect_batch(batch)
        cfg, weight = self.cfg, self.in_proj.weight
        h, p, n = cfg.n_heads, cfg.d_head, cfg.d_state
        shapes = ((h, cfg.n_angles), (h, p, n), (h, cfg.rank, n), (h, p))
        wide = state_dtype(weight)
        return Mamba3State(*(weight.new_zeros(batch, *shape, dtype=wide) for shape in shapes))

    def _run(
        self,
        u: Tensor,
        state: Mamba3State | None,
        mask: Tensor | None,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, Mamba3State]:
        if mask is not None:  # Eq. (1) has no bias: a zero for u neither writes nor turns
            u = u.masked_fill(~mask[..., None], 0)
        state = self.allocate_state(u.shape[0]) if state is None else state
        return self._through(self.scan, u, state)

    def _through(self, scan: Scan, u: Tensor, state: Mamba3State) -> tuple[Tensor, Mamba3State]:
        cfg, wide = self.cfg, state.ssm.dtype
        z, x, B, C, dt, A, lam, theta = self.in_proj(u).split(cfg.split, dim=-1)  # (1)
        x, z = (part.unflatten(-1, (-1, cfg.d_head)).to(wide) for part in (x, z))  # b l h p
        dt = F.softplus(dt.to(wide) + self.dt_bias)
        rate = heavy_tail if cfg.A_activation == "heavy_tail" else F.softplus
        A = -rate(A.to(wide)).clamp(min=cfg.A_floor)
        lam, theta = torch.sigmoid(lam.to(wide)), math.pi * torch.tanh(theta.to(wide))  # (2)
        phase = state.phase[:, None] + (dt[..., None] * theta[:, :, None]).cumsum(dim=1)
        phase = phase.remainder(2 * math.pi)
        B = self._vectors(B, self.B_norm, self.B_bias, phase)
        C = self._vectors(C, self.C_norm, self.C_bias, phase)
        x_r = self._ranked(x, "mimo_x")
        past = Past(state.ssm, self._ranked(state.x[:, None], "mimo_x")[:, 0], state.B)
        with without_autocast(u):  # products of the scan in float32 too
            y, H = scan(Inputs(x_r, B, C, dt, A, lam), past)  # (5)
        y = y + self.D[:, None, None] * x_r
        out = self.out_proj(self._gated(y, z).flatten(-2).to(u.dtype))  # (7)
        return out, Mamba3State(phase[:, -1], H, B[:, -1], x[:, -1])

    def _vectors(self, v: Tensor, norm: nn.Module, bias: Tensor, phase: Tensor) -> Tensor:
        cfg = self.cfg
        v = norm(v.unflatten(-1, (cfg.rank, cfg.n_groups, cfg.d_state)).to(phase.dtype))
        v = v.transpose(2, 3).repeat_interleave(cfg.n_heads // cfg.n_groups, dim=2)  # b l h r n
        return turn(v + bias, phase, adjacent=cfg.mimo_rank is None)  # (3), (4)

    def _ranked(self, x: Tensor, name: str) -> Tensor:
        x = x[..., None, :]  # b l h 1 p
        return x if self.cfg.mimo_rank is None else x * getattr(self, name)  # (8)

    def _gated(self, y: Tensor, z: Tensor) -> Tensor:
        if self.norm is not None and self.norm_weight is not None:
            y = self.norm(y) * self.norm_weight.view(self.cfg.n_heads, 1, self.cfg.d_head)
        y = y * F.silu(self._ranked(z, "mimo_z"))
        return (y if self.cfg.mimo_rank is None else y * self.mimo_o).sum(dim=-2)  # (8)

    def _memory(self, state: Mamba3State) -> Tensor:
        return state.ssm

    def _check_state(self, state: Mamba3State, batch: int) -> None:
        if not isinstance(state, Mamba3State):
            raise ValueError(f"state must be a Mamba3State; got {type(state).__name__}")
        cfg = self.cfg
        h, p, n = cfg.n_heads, cfg.d_head, cfg.d_state
        expect_shape("state.phase", state.phase, (batch, h, cfg.n_angles))
        expect_shape("state.ssm", state.ssm, (batch, h, p, n))
        expect_shape("state.B", state.B, (batch, h, cfg.rank, n))
        expect_shape("state.x", state.x, (batch, h, p))


class Mamba3LanguageModel(LanguageModel):
    """Mamba-3 and SwiGLU branches by turns (`d_ff`), or Mamba-3 alone (`d_ff=0`).

    `cfg.n_layers` counts branches. Projections into the residual stream are divided by its root.
    """

    def __init__(
        self,
        cfg: LanguageModelConfig,
        block: Mamba3Config,
        *,
        d_ff: int = 0,
        scan: Scan = trapezoidal_chunked,
    ) -> None:
        if cfg.d_model != block.d_model or d_ff < 0 or (d_ff and cfg.n_layers % 2):
            raise ValueError(
                "shell and block must share d_model, and n_layers be even with d_ff > 0; got "
                f"{cfg.d_model}, {block.d_model}, n_layers={cfg.n_layers} and d_ff={d_ff}"
            )

        def branch(layer: int) -> nn.Module:
            return SwiGLU(cfg.d_model, d_ff) if d_ff and layer % 2 else Mamba3(block, scan=scan)

        super().__init__(cfg, branch)
        self.block_cfg, self.d_ff = block, d_ff
        for name, weight in self.named_parameters():
            if name.endswith(("out_proj.weight", "down_proj.weight")):
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
                weight.data /= math.sqrt(cfg.n_layers)
