"""One call of ssd: its plan, and its tensors as kernels read them."""

from typing import NamedTuple

from torch import Tensor

from ssm_kernels.ssd.plan import Plan


class Call(NamedTuple):
    """The tensors of one call as kernels read them: rows of tokens, each with its stride."""

    plan: Plan
    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    dt_bias: Tensor | None
    init: Tensor | None
    softplus: bool
    limits: tuple[float, float]

    @property
    def gate(self) -> dict[str, bool]:
        """What Δ is made of, for kernels that read dt."""
        return {"SOFTPLUS": self.softplus, "BIAS": self.dt_bias is not None}

    @property
    def skip(self) -> int:
        """0 without D, 1 with one number a head, 2 with one a value."""
        return 0 if self.D is None else self.D.ndim


def call_of(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    init: Tensor | None,
    cu_seqlens: Tensor | None,
    softplus: bool,
    limits: list[float],
) -> Call:
    """The call of an operator with these arguments."""
    plan = Plan.of(x, B, cu_seqlens)
    return Call(
        plan,
        rows_of(x),
        rows_of(dt),
        A.contiguous(),
        rows_of(B),
        rows_of(C),
        None if D is None else D.contiguous(),
        None if dt_bias is None else dt_bias.contiguous(),
        None if init is None else init.float().contiguous(),
        softplus,
        (limits[0], limits[1]),
    )


def rows_of(t: Tensor) -> Tensor:
    """(b · l, …) with everything but the token's stride contiguous: a view where it can be."""
    inner = t.shape[2:]
    stride = 1
    for size, have in zip(reversed(inner), reversed(t.stride()[2:]), strict=True):
        if size > 1 and have != stride:
            t = t.contiguous()
            break
        stride *= size
    if t.shape[0] > 1 and t.stride(0) != t.shape[1] * t.stride(1):
        t = t.contiguous()
    return t.flatten(0, 1)
