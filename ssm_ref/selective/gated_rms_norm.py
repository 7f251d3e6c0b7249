"""Gated RMSNorm: the normalisation between the scan and the output projection of Mamba-2.

Over each group of k channels, with a weight w for every channel:

    rms(v) = sqrt(mean_k(v²) + ε)                                           (1)
    y = w · u / rms(u),   u = x · SiLU(z)      gate, then normalise         (2)
    y = w · x / rms(x) · SiLU(z)               normalise, then gate         (3)

Mamba-2 uses Eq. (2), the gated delta family Eq. (3). The two differ: in Eq. (2) the gate changes
the mean square, so one open channel rescales its neighbours. With groups every group has its own
mean square, so a model split over devices by groups needs no communication here.
Sources: Dao and Gu, 2024, arXiv 2405.21060; Zhang and Sennrich, 2019, arXiv 1910.07467.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu


def gated_rms_norm(
    x: Float[Tensor, "*batch d"],
    weight: Float[Tensor, " d"],
    z: Float[Tensor, "*batch d"] | None = None,
    *,
    eps: float = 1e-5,
    groups: int = 1,
    norm_before_gate: bool = False,
) -> Float[Tensor, "*batch d"]:
    """y in the dtype of x by Eq. (2), or by Eq. (3) with `norm_before_gate`; computed in float32
    or wider.

    Without z there is no gate and both equations are RMSNorm. Raises ValueError where shapes,
    dtypes or devices do not fit, groups do not divide the channels, or eps is negative.
    """
    check_gated_rms_norm(x, weight, z, eps, groups)
    wide = torch.promote_types(x.dtype, torch.float32)
    u, w = x.to(wide), weight.to(wide)
    gate = None if z is None else silu(z.to(wide))
    if gate is not None and not norm_before_gate:
        u = u * gate  # (2)
    by_group = u.unflatten(-1, (groups, -1))
    rms = (by_group.square().mean(dim=-1, keepdim=True) + eps).sqrt()  # (1)
    y = w * (by_group / rms).flatten(-2)  # (2)
    if gate is not None and norm_before_gate:
        y = y * gate  # (3)
    return y.to(x.dtype)


def check_gated_rms_norm(
    x: Tensor, weight: Tensor, z: Tensor | None, eps: float, groups: int
) -> None:
    """Raise ValueError, with what was wanted and what came, where the inputs do not fit."""
    if x.ndim < 1 or x.shape[-1] < 1:
        raise ValueError(f"x must have at least one channel on its last axis; got {_shape(x)}")
    d = x.shape[-1]
    if _shape(weight) != (d,):
        raise ValueError(f"weight must have shape {(d,)} like x's channels; got {_shape(weight)}")
    if z is not None and z.shape != x.shape:
        raise ValueError(f"z must have the shape {_shape(x)} of x; got {_shape(z)}")
    if groups < 1 or d % groups:
        raise ValueError(f"groups must divide the {d} channels; got {groups}")
    if not eps >= 0:
        raise ValueError(f"eps must not be negative; got {eps}")
    for name, tensor in {"x": x, "weight": weight, "z": z}.items():
        if tensor is None:
            continue
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be real floating point; got {tensor.dtype}")
        if tensor.device != x.device:
            raise ValueError(f"{name} must be on {x.device} like x; got {tensor.device}")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


class GatedRMSNorm(nn.Module):
    """Gated RMSNorm with a learned weight, one at the start."""

    def __init__(
        self,
        d: int,
        *,
        eps: float = 1e-5,
        groups: int = 1,
        norm_before_gate: bool = False,
        norm: Callable[..., Tensor] = gated_rms_norm,
    ) -> None:
        super().__init__()
        if groups < 1 or d % groups:
            raise ValueError(f"groups must divide the {d} channels; got {groups}")
        self.eps, self.groups, self.norm_before_gate = eps, groups, norm_before_gate
        self.norm = norm
        self.weight = nn.Parameter(torch.ones(d))

    def forward(
        self, x: Float[Tensor, "*batch d"], z: Float[Tensor, "*batch d"] | None = None
    ) -> Float[Tensor, "*batch d"]:
        """Normalise x, gated by z where it is given."""
        return self.norm(
            x,
            self.weight,
            z,
            eps=self.eps,
            groups=self.groups,
            norm_before_gate=self.norm_before_gate,
        )
