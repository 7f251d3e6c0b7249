"""Which backend runs a call: the one rule that all operators share."""

import functools
from collections.abc import Callable
from typing import TypeVarTuple

import torch
import triton
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
KINDS = 4096  # of calls that are remembered to be right
Operands = TypeVarTuple("Operands")


def uses_triton(backend: str, x: Tensor) -> bool:
    """Whether `backend` means the Triton kernel for `x`.

    `auto` takes the kernel for CUDA tensors of float32, float16 or bfloat16 and the definition for
    everything else; `triton` and `reference` mean what they say. Raises `ValueError` for another
    name, and for `triton` with another dtype.
    """
    match backend:
        case "reference":
            return False
        case "auto":
            return x.is_cuda and x.dtype in DTYPES
        case "triton":
            if x.dtype not in DTYPES:
                raise ValueError(f"the triton backend takes {_names()}; got {x.dtype}")
            return True
    raise ValueError(f"backend must be 'auto', 'triton' or 'reference'; got {backend!r}")


def check_device(x: Tensor) -> None:
    """Raise `ValueError` where Triton cannot launch: called inside operators, out of the
    compiler's sight.
    """
    if not x.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(
            "the triton backend wants CUDA tensors, or TRITON_INTERPRET=1 set before its import; "
            f"got tensors on {x.device}"
        )


def once_a_kind(check: Callable[[*Operands], None]) -> Callable[[*Operands], None]:
    """`check` of operands, which raises or returns, run once for each kind of call that passes.

    A kind is what a check may look at: shape, dtype, device and contiguity of tensors, and all else
    by value. Compilers see `check` itself.
    """
    passed: set[tuple[object, ...]] = set()

    @functools.wraps(check)
    def checked(*args: *Operands) -> None:
        if torch.compiler.is_compiling():
            check(*args)
            return
        kind = tuple(
            [(a.shape, a.dtype, a.device, a.is_contiguous()) if isinstance(a, Tensor) else a
             for a in args]
        )  # fmt: skip
        if kind in passed:
            return
        check(*args)
        if len(passed) == KINDS:
            passed.clear()
        passed.add(kind)

    return checked


def _names() -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
