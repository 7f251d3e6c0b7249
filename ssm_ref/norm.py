"""Root-mean-square normalisation.

    y = w ⊙ x / sqrt(mean(x²) + ε)    (1)

Source: Zhang and Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def rms_norm(
    x: Float[Tensor, "*batch d"], weight: Float[Tensor, " d"] | None = None, *, eps: float = 1e-5
) -> Float[Tensor, "*batch d"]:
    """x scaled to unit mean square over its last axis, then by `weight`.    (1)

    The mean is taken in float32 at least and the result has the dtype of `x`.
    Raises `ValueError` if `weight` has another width.
    """
    if weight is not None and weight.shape != x.shape[-1:]:
        raise ValueError(f"weight must have shape {tuple(x.shape[-1:])}; got {tuple(weight.shape)}")
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    y = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)  # (1)
    return (y if weight is None else y * weight).to(x.dtype)  # (1)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale, or without one if not `affine`."""

    def __init__(self, d_model: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model)) if affine else None

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """x normalised over its last axis, in the dtype of `x`."""
        return rms_norm(x, self.weight, eps=self.eps)
