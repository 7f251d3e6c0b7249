"""SSD in Triton, with the contract of its definition.

`ssd` takes what `ssm_ref.selective.ssd.ssd` takes, and a backend. Operators `ssm_kernels::ssd` and
its backward, in `launch`, carry it; `kernel`, `walk_kernel` and `backward_kernel` say how the work
is cut.
"""

import math
from typing import Unpack

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import silu

from ssm_kernels.backend import uses_triton
from ssm_kernels.ssd import launch
from ssm_kernels.ssd.plan import MAX_STATE
from ssm_ref.selective import ssd as definition


def ssd(
    x: Float[Tensor, "b l h p"],
    dt: Float[Tensor, "b l h"],
    A: Float[Tensor, " h"],
    B: Float[Tensor, "b l g n"],
    C: Float[Tensor, "b l g n"],
    *,
    backend: str = "auto",
    **options: Unpack[definition.SSDOptions],
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "s h p n"]]:
    """The output in the dtype of x, and the last state in float32.

    Options are those of the definition. Differentiable in every floating-point input, through
    both outputs, with the same bits on every run. x, B and C may be slices of one projection:
    they are read in place where only the token's stride is their own. B and C are read in the
    dtype of x. `reference` is the chunked algorithm. Raises `ValueError` as the definition does,
    for an unknown backend, and for more than 256 state numbers.
    """
    if not uses_triton(backend, x):
        return definition.ssd_chunked(x, dt, A, B, C, **options)
    unknown = options.keys() - definition.SSDOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown options {sorted(unknown)}")
    definition.check_ssd(definition.Operands(x, dt, A, B, C), options)
    if B.shape[3] > MAX_STATE:
        raise ValueError(f"the triton backend takes n up to {MAX_STATE}; got {B.shape[3]}")
    z = options.get("z")
    y, state = launch.forward(
        x,
        dt,
        A,
        B.to(x.dtype),
        C.to(x.dtype),
        options.get("D"),
        options.get("dt_bias"),
        options.get("initial_state"),
        options.get("cu_seqlens"),
        options.get("dt_softplus", False),
        list(options.get("dt_limit", (0.0, math.inf))),
        z is not None,
    )
    if z is not None:
        y = (y * silu(z.float())).to(x.dtype)
    return y, state
