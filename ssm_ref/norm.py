"""Root-mean-square normalisation.

    s = 1 / sqrt(mean(x²) + ε),  y = w ⊙ s x                         (1)
    ∂x = s (w ⊙ ∂y − x s² mean(w ⊙ ∂y ⊙ x)),  ∂w = Σ ∂y ⊙ s x        (2)

Source: Zhang and Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019. Eq. (2) is there
so that x alone is kept for the backward pass: s x is as large, and a model has a norm a branch.
"""

from collections.abc import Callable
from typing import Any

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
    return RootMeanSquare.apply(x, weight, eps)


class RootMeanSquare(torch.autograd.Function):
    """Eq. (1) with Eq. (2) for its gradients, which can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        """y in the dtype of x."""
        wide, scale = _scaled(x, eps)
        # In place on the product, which under vmap has every mapped axis, whichever operand had it.
        return (wide * (1 if weight is None else weight)).mul_(scale).to(x.dtype)  # (1)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor | None, float], output: Tensor
    ) -> None:
        """Keep the operands."""
        x, weight, ctx.eps = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Eq. (2)."""
        x, weight = ctx.saved_tensors
        wide, scale = _scaled(x, ctx.eps)
        grad = grad.to(wide.dtype)
        both, weighted = grad * wide, grad if weight is None else grad * weight
        along = (both if weight is None else both * weight).mean(dim=-1, keepdim=True) * scale**2
        grad_x = (torch.addcmul(weighted, wide, along, value=-1) * scale).to(x.dtype)  # (2)
        if weight is None:
            return grad_x, None, None
        return grad_x, (both * scale).sum_to_size(weight.shape).to(weight.dtype), None  # (2)


def _scaled(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x in float32 or wider, and s of Eq. (1)."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return wide, torch.rsqrt(norm.square() / x.shape[-1] + eps)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale, or without one if not `affine`.

    `norm` computes it, with the contract of `rms_norm`.
    """

    def __init__(
        self,
        d_model: int,
        *,
        eps: float = 1e-5,
        affine: bool = True,
        norm: Callable[..., Tensor] = rms_norm,
    ) -> None:
        super().__init__()
        self.eps, self.norm = eps, norm
        self.weight = nn.Parameter(torch.ones(d_model)) if affine else None

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """x normalised over its last axis, in the dtype of `x`."""
        return self.norm(x, self.weight, eps=self.eps)
