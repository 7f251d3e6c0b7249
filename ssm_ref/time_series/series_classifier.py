"""A classifier of time series that can answer after every step.

    u_0 = W x + b                                        (1)
    u_i = u_{i-1} + mix_i(norm_i(u_{i-1}))               (2)
    ū_t = (1 / (t + 1)) sum_{s ≤ t} norm(u_n)_s          (3)
    logits_t = V ū_t + a                                 (4)

x is (b, l, c): l steps of c channels. mix is a causal layer, Mamba or S4D, so that logits_t follow
from x_0 … x_t alone: the answer for a series is that at its last step, and steps behind it change
nothing. Series of unequal length stand in one batch with rows of NaN behind their ends.

Source: the classifier of S4 (Gu, Goel, Ré, ICLR 2022, arXiv:2111.00396): residual layers, then the
mean over time; here the mean is kept running.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ssm_ref.expect import expect_counts, expect_numbers, readable, state_dtype
from ssm_ref.norm import RMSNorm
from ssm_ref.selective.mamba import Mamba, MambaConfig, Operator
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.structured.s4d import S4D, S4DConfig

Mixer = Literal["mamba", "s4d"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesClassifierConfig:
    """Sizes of the model.

    Args:
        channels: numbers a step, c.
        n_classes: width of the logits.
        d_model: width inside, m; n_layer: layers; d_state: state of a channel.
        mixer: "mamba" selects by content, "s4d" is time-invariant.
        dropout: share of the mixers' outputs that become zero in training.
    """

    channels: int
    n_classes: int
    d_model: int = 64
    n_layer: int = 2
    d_state: int = 16
    mixer: Mixer = "mamba"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        expect_counts(self, "channels", "n_classes", "d_model", "n_layer", "d_state")
        if self.mixer not in ("mamba", "s4d"):
            raise ValueError(f"mixer must be 'mamba' or 's4d'; got {self.mixer!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1); got {self.dropout}")


class SeriesLayer(nn.Module):
    """One residual layer, Eq. (2)."""

    def __init__(self, cfg: SeriesClassifierConfig, scan: Operator) -> None:
        super().__init__()
        self.norm = RMSNorm(cfg.d_model)
        if cfg.mixer == "mamba":
            block = MambaConfig(d_model=cfg.d_model, d_state=cfg.d_state)
            self.mix: nn.Module = Mamba(block, scan=scan)
        else:
            self.mix = S4D(S4DConfig(d_model=cfg.d_model, d_state=cfg.d_state))
        self.drop = nn.Dropout(cfg.dropout)

    def forward(self, u: Float[Tensor, "b l m"]) -> Float[Tensor, "b l m"]:
        """Steps after one layer, each of the past alone."""
        mixed = self.mix(self.norm(u))
        mixed = mixed if isinstance(mixed, Tensor) else mixed[0]  # S4D gives its state as well
        out: Tensor = u + self.drop(mixed)  # (2)
        return out


class SeriesClassifier(nn.Module):
    """The classifier of Eqs. (1) to (4); `scan` has the contract of `selective_scan`."""

    def __init__(
        self, cfg: SeriesClassifierConfig, *, scan: Operator = selective_scan_chunked
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.embed = nn.Linear(cfg.channels, cfg.d_model)
        self.layers = nn.ModuleList(SeriesLayer(cfg, scan) for _ in range(cfg.n_layer))
        self.norm = RMSNorm(cfg.d_model)
        self.head = nn.Linear(cfg.d_model, cfg.n_classes)

    def forward(self, x: Float[Tensor, "b l c"]) -> Float[Tensor, "b k"]:
        """Logits of each series at its own last step.

        Args:
            x: (b, l, channels); rows of NaN behind the end of a series are no part of it.

        Raises:
            ValueError: for another shape, for NaN elsewhere, and for a series without a step.
        """
        real = self._real(x)
        last = real.sum(dim=1) - 1
        return self._over_time(x, real)[torch.arange(len(x), device=x.device), last]

    def over_time(self, x: Float[Tensor, "b l c"]) -> Float[Tensor, "b l k"]:
        """Logits after every step; behind the end of a series they stay what they were there."""
        return self._over_time(x, self._real(x))

    def _over_time(self, x: Tensor, real: Tensor) -> Tensor:
        u = self.embed(torch.where(real[..., None], x, 0.0))  # (1) b l m
        for layer in self.layers:
            u = layer(u)  # (2)
        u = torch.where(real[..., None], self.norm(u), 0.0)
        wide = u.to(state_dtype(u))  # neither sums nor counts of a long series fit into bfloat16
        mean = wide.cumsum(dim=1) / real.cumsum(dim=1)[..., None]  # (3)
        logits: Tensor = self.head(mean.to(u.dtype))  # (4)
        return logits

    def _real(self, x: Tensor) -> Bool[Tensor, "b l"]:
        """Which steps are part of their series."""
        if x.ndim != 3 or x.shape[2] != self.cfg.channels or not x.shape[1]:
            raise ValueError(
                f"x must have shape (batch, length ≥ 1, {self.cfg.channels}); got {tuple(x.shape)}"
            )
        missing = x.isnan()
        real = ~missing.all(dim=2)
        expect_numbers("x", torch.where(real[..., None], x, 0.0), self.embed.weight)
        if readable(x) and bool((real[:, 1:] & ~real[:, :-1]).any() or not real[:, 0].all()):
            raise ValueError("x may hold rows of NaN only behind the last step of a series")
        return real
