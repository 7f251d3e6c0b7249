"""One timed case: an operator at one shape, and its implementations side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = dict[str, int]
Call = Callable[..., Tensor]
OURS = "ssm_kernels"
EXACT_TOKENS = 4096  # of the first row: what is compared with float64


def as_it_is(t: Tensor) -> Tensor:
    """t itself: the layout of our operators."""
    return t


@dataclass(frozen=True, kw_only=True, slots=True)
class Impl:
    """One implementation: its operands, and the function that returns its first output."""

    operands: Mapping[str, Tensor]
    call: Call
    x: str = "x"  # the operand whose gradient is compared
    layout: Callable[[Tensor], Tensor] = as_it_is  # ours to its own and back: its own inverse


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """The fewest bytes that a pass must move, and the fewest operations that it must do."""

    bytes_moved: int
    flops: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One operator at one shape.

    The passes are `fwd`, `fwd_bwd` and `decode`. `exact` is the operator in the names and layout
    of ours; it is given float64 operands, those of `sliced` cut to their first row and tokens.
    """

    op: str
    shape: Shape
    dtype: torch.dtype
    impls: Mapping[str, Impl]  # ours first
    exact: Call
    sliced: frozenset[str]
    rows: int = 1
    costs: Mapping[str, Cost]
    products: bool = False  # whether the operations are matrix products
    copies: int = 1  # states that decoding goes through in turn, so that none stays in the cache

    def floor_ms(self, pass_: str, copy_tb_s: float, matmul_tflop_s: float) -> float:
        """The least time of a pass under the two ceilings of the card."""
        cost = self.costs[pass_]
        memory = cost.bytes_moved / copy_tb_s / 1e9
        return max(memory, cost.flops / matmul_tflop_s / 1e9) if self.products else memory

    def exact_operands(self) -> dict[str, Tensor]:
        """Our operands in float64, cut to what is compared."""
        return {
            name: (self.first(t) if name in self.sliced else t).double()
            for name, t in self.impls[OURS].operands.items()
        }

    def first(self, t: Tensor) -> Tensor:
        """The rows and, of a sequence, the tokens of t that are compared."""
        return t[: self.rows, :EXACT_TOKENS] if "l" in self.shape else t[: self.rows]

    @property
    def is_whole(self) -> bool:
        """Whether all tokens are compared, so that gradients can be."""
        return self.shape.get("l", 0) <= EXACT_TOKENS
