"""Reversible instance normalisation: a forecaster sees shapes, never levels.

    μ = mean_t x_t,  σ = sqrt(mean_t (x_t - μ)² + ε)    (1)
    y = μ + σ f((x - μ) / σ)                            (2)

Every window of every variate is brought to mean 0 and deviation 1, and the forecast is brought
back. Whatever f is, adding a constant to the window adds it to the forecast, and scaling the
window by c > 0 scales the forecast by c, up to what ε takes from a window that hardly moves.

Source: Kim et al., Reversible Instance Normalization, ICLR 2022, here without its learned scale
and shift, as S-Mamba (arXiv:2403.11144) has it.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

EPS = 1e-5


class Level(NamedTuple):
    """Mean and deviation of each window of each variate."""

    mean: Float[Tensor, "b 1 c"]
    deviation: Float[Tensor, "b 1 c"]

    def restore(self, y: Float[Tensor, "b h c"]) -> Float[Tensor, "b h c"]:
        """A forecast of normalised windows in the units of the data.    (2)"""
        return self.mean + self.deviation * y  # (2)


def normalise(x: Float[Tensor, "b l c"]) -> tuple[Float[Tensor, "b l c"], Level]:
    """Windows at mean 0 and deviation 1 over time, and the level that they had.    (1)"""
    mean = x.mean(dim=1, keepdim=True)
    centred = x - mean
    deviation = (centred.square().mean(dim=1, keepdim=True) + EPS).sqrt()  # (1)
    return centred / deviation, Level(mean, deviation)
