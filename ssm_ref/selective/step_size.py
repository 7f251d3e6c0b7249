"""The start of the step Δ, the same in every model of the Mamba line.

    Δ = exp(v),  v uniform in [ln dt_min, ln dt_max],  Δ ≥ dt_floor    (1)
    b = Δ + ln(1 − e^{−Δ}),  so that softplus(b) = Δ                  (2)

Source: the published code of Mamba (Gu and Dao, arXiv 2312.00752) and of its successors.
"""

import math

import torch
from torch import Tensor


@torch.no_grad()
def draw_dt_bias(
    bias: Tensor, *, dt_min: float = 1e-3, dt_max: float = 1e-1, dt_floor: float = 1e-4
) -> None:
    """Fill `bias`, of any shape, with the inverse softplus of log-uniform steps."""
    dt = torch.empty_like(bias).uniform_(math.log(dt_min), math.log(dt_max)).exp()  # (1)
    dt = dt.clamp(min=dt_floor)  # (1)
    bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # (2)
