"""The peers: packages that can be imported, and the definitions through `torch.compile`."""

import importlib
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ssm_kernels.bench.case import Impl

COMPILED = "torch.compile"


def imported(module: str, name: str) -> Callable[..., Any] | None:
    """`name` of `module`, or None where the import fails; the reason goes to stderr."""
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        print(f"no peer {module}.{name}: {error}", file=sys.stderr)
        return None
    return found


def compiled(
    operands: dict[str, Tensor], definition: Callable[..., Tensor], device: str
) -> dict[str, Impl]:
    """The definition through torch.compile, on a GPU."""
    if device != "cuda":
        return {}

    @cache  # the compiler's import takes seconds
    def made() -> Callable[..., Tensor]:
        return torch.compile(definition, dynamic=False)

    return {COMPILED: Impl(operands=operands, call=lambda **t: made()(**t))}
