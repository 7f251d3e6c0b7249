"""The table of what is timed: one function an operator, which yields its implementations.

To add an operator, write a function that takes a shape and returns its `Case`, and name it in
`CASES`. A peer is a column that appears when its package can be imported.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ssm_kernels.selective_scan.op import selective_scan
from ssm_ref.selective.selective_scan import selective_scan_chunked

Shape = dict[str, int]
Call = Callable[..., Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One operator at one shape."""

    op: str
    shape: Shape
    dtype: torch.dtype
    # name → (operands, function of them); the first output is compared and differentiated.
    impls: dict[str, tuple[dict[str, Tensor], Call]]
    reference: Callable[[], Tensor]  # the first output in float64, laid out as ours
    bytes_fwd: int
    bytes_bwd: int
    flops_fwd: int
    flops_bwd: int


def selective_scan_case(b: int, l: int, d: int, n: int, dtype: torch.dtype) -> Case:
    """Mamba's scan with D, gate, bias and softplus: ours, and mamba-ssm's CUDA operator."""
    gen = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=gen, device="cuda")

    ours = {
        "x": normal(b, l, d).to(dtype),
        "dt": (normal(b, l, d) / 2).to(dtype),
        "A": -torch.arange(1, n + 1, device="cuda").float().repeat(d, 1),
        "B": normal(b, l, n).to(dtype),
        "C": normal(b, l, n).to(dtype),
        "D": normal(d),
        "z": normal(b, l, d).to(dtype),
        "dt_bias": normal(d) / 2 - 4,
    }
    impls: dict[str, tuple[dict[str, Tensor], Call]] = {
        "ssm_kernels": (ours, lambda **t: selective_scan(**t, dt_softplus=True)[0])
    }
    if (peer := _mamba_ssm()) is not None:
        names = {"x": "u", "dt": "delta", "dt_bias": "delta_bias"}
        theirs = {
            names.get(name, name): t.mT.contiguous() if t.ndim == 3 else t
            for name, t in ours.items()
        }
        impls["mamba_ssm"] = (theirs, lambda **t: peer(**t, delta_softplus=True).mT)
    tokens, size = b * l, ours["x"].element_size()
    wide, narrow = tokens * d * size, tokens * n * size
    return Case(
        op="selective_scan",
        shape={"b": b, "l": l, "d": d, "n": n},
        dtype=dtype,
        impls=impls,
        reference=lambda: _exact(ours),
        bytes_fwd=4 * wide + 2 * narrow,
        bytes_bwd=7 * wide + 4 * narrow,
        flops_fwd=9 * tokens * d * n,
        flops_bwd=24 * tokens * d * n,
    )


def _exact(operands: dict[str, Tensor]) -> Tensor:
    """The first row of the batch in float64."""
    first = {name: t[:1].double() if t.ndim == 3 else t.double() for name, t in operands.items()}
    x, dt, A, B, C = (first[name] for name in ("x", "dt", "A", "B", "C"))
    rest = {"D": first["D"], "z": first["z"], "dt_bias": first["dt_bias"]}
    return selective_scan_chunked(x, dt, A, B, C, dt_softplus=True, **rest)[0]  # type: ignore[arg-type]


def _mamba_ssm() -> Call | None:
    # The interface imports without its CUDA extension and fails only when it is called.
    if importlib.util.find_spec("selective_scan_cuda") is None:
        return None
    interface = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    return cast(Call, interface.selective_scan_fn)


def selective_scan_cases() -> list[Case]:
    """The headline at 32,768 tokens, lengths at constant tokens, and batch 1."""
    lengths = [512, 2048, 8192, 32_768, 131_072]
    return [selective_scan_case(max(1, 32_768 // l), l, 2048, 16, torch.bfloat16) for l in lengths]


CASES: dict[str, Callable[[], list[Case]]] = {"selective_scan": selective_scan_cases}
