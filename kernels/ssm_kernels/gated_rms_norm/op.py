"""Gated RMSNorm in Triton, with the contract of its definition.

`gated_rms_norm` takes what `ssm_ref.selective.gated_rms_norm` takes, and a backend. Operators
`ssm_kernels::gated_rms_norm` and its backward, in `launch`, carry it.
"""

from jaxtyping import Float
from torch import Tensor

from ssm_kernels.backend import uses_triton
from ssm_kernels.gated_rms_norm import launch
from ssm_ref.selective import gated_rms_norm as definition


def gated_rms_norm(
    x: Float[Tensor, "*batch d"],
    weight: Float[Tensor, " d"],
    z: Float[Tensor, "*batch d"] | None = None,
    *,
    eps: float = 1e-5,
    groups: int = 1,
    norm_before_gate: bool = False,
    backend: str = "auto",
) -> Float[Tensor, "*batch d"]:
    """Gated RMSNorm of every row, by groups of channels, in either order of norm and gate.

    Differentiable in x, weight and z, with the same bits on every run. Rows may lie apart, as in
    a slice of a projection; anything else is copied first. Raises `ValueError` as the definition
    does, for an unknown backend, and for groups wider than 65,536 channels.
    """
    if not uses_triton(backend, x):
        return definition.gated_rms_norm(
            x, weight, z, eps=eps, groups=groups, norm_before_gate=norm_before_gate
        )
    definition.check_gated_rms_norm(x, weight, z, eps, groups)
    if x.shape[-1] // groups > launch.MAX_WIDTH:
        raise ValueError(
            f"a group may have {launch.MAX_WIDTH} channels; got {x.shape[-1] // groups}"
        )
    y, _ = launch.norm(x, weight, z, eps, groups, norm_before_gate)
    return y
