"""SS2D, the mixer of VMamba: a map read along its rows, its columns and both backwards.

    x = SiLU(conv(W_in u))                                conv: 3 × 3, channel by channel    (1)
    x_k = order_k(x),   k = rows, columns, rows from the end, columns from the end           (2)
    y_k = scan_k(x_k)                                     with Δ, B, C, A and D of its own   (3)
    v = W_out norm(Σ_k order_k⁻¹(y_k))                                                       (4)

u and v are (b, h, w, m), x is (b, h, w, d), x_k and y_k are (b, h·w, d). Whatever the sizes are,
every output sees every input, its own row and column most closely. There is no gate: the block
around it has an MLP instead. The first version of the published code had one, and no MLP:

    [x, z] = W_in u,   v = W_out (norm(Σ_k order_k⁻¹(y_k)) ⊙ SiLU(z))                        (8)

with a bias in the convolution; U-Nets made of VMamba's blocks have kept that form. Source: Liu et
al., VMamba, arXiv:2401.10166, and both versions of its published code.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ssm_ref.expect import expect_counts, expect_numbers, state_dtype
from ssm_ref.selective.mamba import Operator
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.selective.step_size import draw_dt_bias

ORDERS = 4


def cross_scan(x: Float[Tensor, "b h w d"]) -> Float[Tensor, "b l k d"]:
    """The four orders of Eq. (2), side by side."""
    rows = x.flatten(1, 2)
    columns = x.transpose(1, 2).flatten(1, 2)
    return torch.stack([rows, columns, rows.flip(1), columns.flip(1)], dim=2)  # (2)


def cross_merge(y: Float[Tensor, "b l k d"], h: int, w: int) -> Float[Tensor, "b h w d"]:
    """Σ_k order_k⁻¹(y_k) on a map of h rows: the adjoint of `cross_scan`.

    Raises `ValueError` unless y has four orders of h · w places.
    """
    if y.ndim != 4 or y.shape[1:3] != (h * w, ORDERS):
        raise ValueError(
            f"y must have shape (batch, {h * w}, {ORDERS}, d) for a map of {h} × {w}; "
            f"got {tuple(y.shape)}"
        )
    rows = y[:, :, 0] + y[:, :, 2].flip(1)
    columns = y[:, :, 1] + y[:, :, 3].flip(1)
    return rows.unflatten(1, (h, w)) + columns.unflatten(1, (w, h)).transpose(1, 2)


def check_map(u: Tensor, d: int, like: Tensor) -> None:
    """Raise `ValueError` unless u is numbers of shape (batch, h ≥ 1, w ≥ 1, d) like `like`."""
    if u.ndim != 4 or u.shape[3] != d or 0 in u.shape[1:3]:
        raise ValueError(
            f"u must have shape (batch, h, w, {d}) with h, w ≥ 1; got {tuple(u.shape)}"
        )
    expect_numbers("u", u, like)


@dataclass(frozen=True, kw_only=True, slots=True)
class SS2DConfig:
    """Sizes of SS2D; the defaults are those of VMamba-T, `gated` is the first version, Eq. (8)."""

    d_model: int
    d_state: int = 1
    d_conv: int = 3
    expand: int = 1
    norm_eps: float = 1e-5
    gated: bool = False

    def __post_init__(self) -> None:
        expect_counts(self, "d_model", "d_state", "d_conv", "expand")
        if self.d_conv % 2 == 0:
            raise ValueError(f"d_conv must be odd to keep the map's size; got {self.d_conv}")

    @property
    def d_inner(self) -> int:
        """Channels of the scans, d."""
        return self.expand * self.d_model

    @property
    def dt_rank(self) -> int:
        """Rank of the projections to Δ."""
        return math.ceil(self.d_model / 16)


class SS2D(nn.Module):
    """Eqs. (1) to (4); `scan` has the contract of `selective_scan`, with a group an order."""

    def __init__(self, cfg: SS2DConfig, *, scan: Operator = selective_scan_chunked) -> None:
        super().__init__()
        self.cfg, self.scan = cfg, scan
        d, n, r = cfg.d_inner, cfg.d_state, cfg.dt_rank
        self.in_proj = nn.Linear(cfg.d_model, 2 * d if cfg.gated else d, bias=False)
        half = cfg.d_conv // 2
        self.conv = nn.Conv2d(d, d, cfg.d_conv, padding=half, groups=d, bias=cfg.gated)
        self.x_proj = nn.Parameter(torch.empty(ORDERS, r + 2 * n, d))
        self.dt_proj = nn.Parameter(torch.empty(ORDERS, d, r))
        self.dt_bias = nn.Parameter(torch.empty(ORDERS, d))
        self.A_log = nn.Parameter(torch.empty(ORDERS, d, n))
        self.D = nn.Parameter(torch.ones(ORDERS, d))
        self.norm = nn.LayerNorm(d, eps=cfg.norm_eps)
        self.out_proj = nn.Linear(d, cfg.d_model, bias=False)
        self.reset_parameters()

    @property
    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that set the dynamics: train them without weight decay."""
        return {"A_log", "D", "dt_bias"}

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Δ log-uniform in [1e-3, 1e-1], A = −1 … −n, projections as a linear layer's."""
        nn.init.uniform_(self.x_proj, -(self.cfg.d_inner**-0.5), self.cfg.d_inner**-0.5)
        nn.init.uniform_(self.dt_proj, -(self.cfg.dt_rank**-0.5), self.cfg.dt_rank**-0.5)
        draw_dt_bias(self.dt_bias)
        states = torch.arange(1, self.cfg.d_state + 1, device=self.A_log.device)
        self.A_log.copy_(states.log().expand_as(self.A_log))

    def forward(self, u: Float[Tensor, "b h w m"]) -> Float[Tensor, "b h w m"]:
        """Mix the places of a map of any size; every output sees every input.

        Raises `ValueError` if u is not (b, h, w, d_model) with at least one place.
        """
        check_map(u, self.cfg.d_model, self.in_proj.weight)
        x = self.in_proj(u)
        x, z = x.chunk(2, dim=-1) if self.cfg.gated else (x, None)
        x = functional.silu(self.conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)  # (1)
        y = cross_merge(self._scan(cross_scan(x)), *u.shape[1:3])
        y = self.norm(y.to(x.dtype))
        if z is not None:
            y = y * functional.silu(z)  # (8)
        out: Tensor = self.out_proj(y)  # (4)
        return out

    def _scan(self, x: Float[Tensor, "b l k d"]) -> Float[Tensor, "b l k d"]:
        cfg, wide = self.cfg, state_dtype(self.A_log)
        sizes = [cfg.dt_rank, cfg.d_state, cfg.d_state]
        dt, B, C = torch.einsum("blkd,krd->blkr", x, self.x_proj).split(sizes, dim=-1)
        dt = torch.einsum("blkr,kdr->blkd", dt, self.dt_proj)
        y, _ = self.scan(
            x.flatten(2),
            dt.flatten(2),
            -self.A_log.to(wide).exp().flatten(0, 1),
            B,
            C,
            D=self.D.flatten(),
            dt_bias=self.dt_bias.flatten(),
            dt_softplus=True,
        )  # (3)
        return y.unflatten(-1, (ORDERS, -1))
