"""S-Mamba: one token a variate, read from both ends; and the linear map it has to beat.

    x̂ = (x - μ) / σ                                          (1)
    v_c = W_e x̂_{:,c} + b_e                                  (2)
    v ← LN(v + Mamba(v) + rev Mamba'(rev v))                 (3)
    v ← LN(v + W_2 GELU(W_1 v + b_1) + b_2)                  (4)
    y_{:,c} = σ_c (W_p LN(v_c) + b_p) + μ_c                  (5)
    y_{:,c} = σ_c (W x̂_{:,c} + b) + μ_c                      (6)

x is (b, l, c): l steps of c variates; v is (b, c, m), so that the sequence which Mamba reads is
that of the variates, and time lives in the weights of the embedding. y is (b, h, c). μ and σ are
those of `instance_norm`. Eqs. (3) and (4) are repeated n_layer times.

`LinearForecaster` is Eqs. (1) and (6): one matrix from window to forecast.

Sources: Wang et al., Is Mamba Effective for Time Series Forecasting?, arXiv:2403.11144, section 4,
and its published code for the sizes (expand 1, 2 taps); Zeng et al., AAAI 2023, arXiv:2205.13504,
for the linear map.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from ssm_ref.expect import expect_counts, expect_numbers
from ssm_ref.selective.mamba import Mamba, MambaConfig, Operator
from ssm_ref.selective.selective_scan import selective_scan_chunked
from ssm_ref.time_series.instance_norm import normalise


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearForecasterConfig:
    """Steps of the window and of the forecast, and how many variates there are."""

    lookback: int = 96  # l
    horizon: int = 96  # h
    variates: int = 1  # c

    def __post_init__(self) -> None:
        expect_counts(self, "lookback", "horizon", "variates")


@dataclass(frozen=True, kw_only=True, slots=True)
class SMambaConfig:
    """Sizes of the model; the defaults are the published ones for the electricity data.

    Args:
        lookback: steps of the window, l; horizon: steps of the forecast, h.
        variates: series that are forecast together, c.
        d_model: width of a variate's token, m; d_ff: hidden width of Eq. (4).
        n_layer: repetitions of Eqs. (3) and (4).
        d_state: state of a channel in each direction.
        dropout: share of zeros after Eq. (2) and inside Eq. (4), in training.
    """

    lookback: int = 96
    horizon: int = 96
    variates: int = 321
    d_model: int = 512
    d_ff: int = 512
    n_layer: int = 3
    d_state: int = 16
    dropout: float = 0.1

    def __post_init__(self) -> None:
        expect_counts(
            self, "lookback", "horizon", "variates", "d_model", "d_ff", "n_layer", "d_state"
        )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1); got {self.dropout}")

    @property
    def mamba(self) -> MambaConfig:
        """One direction of Eq. (3)."""
        return MambaConfig(d_model=self.d_model, d_state=self.d_state, d_conv=2, expand=1)


class SMambaLayer(nn.Module):
    """Variates look at each other, then each works on itself, Eqs. (3) and (4)."""

    def __init__(self, cfg: SMambaConfig, scan: Operator) -> None:
        super().__init__()
        self.forth, self.back = Mamba(cfg.mamba, scan=scan), Mamba(cfg.mamba, scan=scan)
        self.norm_mixed, self.norm_fed = nn.LayerNorm(cfg.d_model), nn.LayerNorm(cfg.d_model)
        self.feed = nn.Sequential(
            nn.Linear(cfg.d_model, cfg.d_ff),
            nn.GELU(),
            nn.Dropout(cfg.dropout),
            nn.Linear(cfg.d_ff, cfg.d_model),
            nn.Dropout(cfg.dropout),
        )

    def forward(self, v: Float[Tensor, "b c m"]) -> Float[Tensor, "b c m"]:
        """Tokens of the variates after one layer."""
        v = self.norm_mixed(v + self.forth(v) + self.back(v.flip(1)).flip(1))  # (3)
        fed: Tensor = self.norm_fed(v + self.feed(v))  # (4)
        return fed


class SMamba(nn.Module):
    """The forecaster of Eqs. (1) to (5); `scan` has the contract of `selective_scan`."""

    def __init__(self, cfg: SMambaConfig, *, scan: Operator = selective_scan_chunked) -> None:
        super().__init__()
        self.cfg = cfg
        self.embed = nn.Linear(cfg.lookback, cfg.d_model)
        self.drop = nn.Dropout(cfg.dropout)
        self.layers = nn.ModuleList(SMambaLayer(cfg, scan) for _ in range(cfg.n_layer))
        self.norm = nn.LayerNorm(cfg.d_model)
        self.project = nn.Linear(cfg.d_model, cfg.horizon)

    def forward(self, x: Float[Tensor, "b l c"]) -> Float[Tensor, "b h c"]:
        """The next `horizon` steps of every variate after the window x, in its units.

        Raises:
            ValueError: unless x is (b, lookback, variates) without NaN.
        """
        _expect_window(x, self.cfg.lookback, self.cfg.variates, self.embed.weight)
        x, level = normalise(x)  # (1)
        v = self.drop(self.embed(x.mT))  # (2) b c m
        for layer in self.layers:
            v = layer(v)
        return level.restore(self.project(self.norm(v)).mT)  # (5)


class LinearForecaster(nn.Module):
    """One matrix from window to forecast, the same for every variate, Eqs. (1) and (6)."""

    def __init__(self, cfg: LinearForecasterConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.map = nn.Linear(cfg.lookback, cfg.horizon)

    def forward(self, x: Float[Tensor, "b l c"]) -> Float[Tensor, "b h c"]:
        """The next `horizon` steps of every variate after the window x, in its units.

        Raises:
            ValueError: unless x is (b, lookback, variates) without NaN.
        """
        _expect_window(x, self.cfg.lookback, self.cfg.variates, self.map.weight)
        x, level = normalise(x)  # (1)
        return level.restore(self.map(x.mT).mT)  # (6)


def _expect_window(x: Tensor, lookback: int, variates: int, like: Tensor) -> None:
    if x.ndim != 3 or tuple(x.shape[1:]) != (lookback, variates):
        raise ValueError(
            "x must have shape (batch, lookback, variates) = "
            f"(batch, {lookback}, {variates}); got {tuple(x.shape)}"
        )
    expect_numbers("x", x, like)
