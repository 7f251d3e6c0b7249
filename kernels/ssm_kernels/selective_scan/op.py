"""Selective scan in Triton, with the contract of its definition.

`selective_scan` takes what `ssm_ref.selective.selective_scan.selective_scan` takes, and a
backend. Two operators carry it: `ssm_kernels::selective_scan` and its backward, in `launch`.
"""

from typing import Unpack

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from ssm_kernels.backend import once_a_kind, uses_triton
from ssm_kernels.selective_scan import launch
from ssm_ref.selective import selective_scan as definition

ScanOptions = definition.ScanOptions


def selective_scan(
    x: Float[Tensor, "b l d"],
    dt: Float[Tensor, "b l d"],
    A: Inexact[Tensor, "d n"],
    B: Inexact[Tensor, "b l *g n"],
    C: Inexact[Tensor, "b l *g n"],
    *,
    backend: str = "auto",
    **options: Unpack[ScanOptions],
) -> tuple[Float[Tensor, "b l d"], Inexact[Tensor, "s d n"]]:
    """Output and last state of a selective scan, differentiable in every operand.

    Options are those of the definition: D, z, dt_bias, dt_softplus, initial_state, cu_seqlens.
    The state is float32, and a second run gives the same bits. `backend="auto"` takes Triton for
    CUDA tensors of float32, float16 or bfloat16 with a real A, and the chunked reference for the
    rest, complex A included. Gradients need memory for one state in sixteen tokens.

    Raises `ValueError` as the definition does, and for an unknown backend.
    """
    operands = definition.Operands(x, dt, A, B, C)
    if A.is_complex() and backend == "triton":
        raise ValueError("the triton backend takes a real A; use backend='reference' for complex A")
    if A.is_complex() or not uses_triton(backend, x):
        return definition.selective_scan_chunked(*operands, **options)
    if unknown := options.keys() - ScanOptions.__annotations__.keys():
        raise TypeError(f"unknown options {sorted(unknown)}")
    named = (
        options.get("D"),
        options.get("z"),
        options.get("dt_bias"),
        options.get("initial_state"),
        options.get("cu_seqlens"),
    )
    _check(*operands, *named)
    if B.ndim == 3:
        B, C = B.unsqueeze(2), C.unsqueeze(2)
    tensors = (x, dt, A, B, C, *named)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    y, last, _ = launch.scan(*tensors, options.get("dt_softplus", False), save)
    return y, last


@once_a_kind
def _check(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    initial_state: Tensor | None, cu_seqlens: Tensor | None,
) -> None:  # fmt: skip
    definition.check_selective_scan(
        definition.Operands(x, dt, A, B, C),
        {"D": D, "z": z, "dt_bias": dt_bias, "initial_state": initial_state,
         "cu_seqlens": cu_seqlens},
    )  # fmt: skip


__all__ = ["ScanOptions", "launch", "selective_scan"]
