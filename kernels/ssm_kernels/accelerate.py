"""One call that gives a reference model the Triton operators."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ssm_kernels.backend import uses_triton
from ssm_kernels.causal_conv1d.op import causal_conv1d, causal_conv1d_step
from ssm_kernels.gated_rms_norm.op import gated_rms_norm
from ssm_kernels.gated_rms_norm.residual import MAX_WIDTH, add_rms_norm
from ssm_kernels.selective_scan.op import selective_scan
from ssm_kernels.ssd.op import ssd
from ssm_kernels.state_update.op import state_step
from ssm_kernels.state_update.rate import decay_rate
from ssm_ref.language_model import LanguageModel
from ssm_ref.norm import RMSNorm, rms_norm
from ssm_ref.selective import block
from ssm_ref.selective import causal_conv1d as definition
from ssm_ref.selective.gated_rms_norm import GatedRMSNorm
from ssm_ref.selective.mamba import Mamba
from ssm_ref.selective.mamba2 import Mamba2
from ssm_ref.selective.selective_scan import selective_scan_step
from ssm_ref.selective.ssd import ssd_step
from ssm_ref.vision.bidirectional_mamba import BidirectionalMamba
from ssm_ref.vision.ss2d import SS2D

Operator = Callable[..., Any]
Swaps = dict[str, Operator]


def accelerate(model: nn.Module, *, backend: str = "auto") -> nn.Module:
    """`model` itself, with the operators of its blocks swapped for those of this package.

    Mamba and Mamba-2 blocks get scan, convolution and one-token steps, bidirectional Mamba and SS2D
    their scan, and RMS norms, gated or not, theirs, wherever they stand in the model. The layers of
    a `LanguageModel` whose norms are RMS norms are joined: what one adds and the norm of the next
    are one launch, except where a layer or its norm has hooks.
    `backend` is handed to every operator. Parameters, names and results stay as they were, to
    rounding: an operator that computes something else, such as a scan with signs, is left in its
    place, and a step that records gradients remains the definition's, as the one-token operators
    have none.
    Raises `ValueError` for an unknown backend or a model of which nothing can be swapped.
    """
    if backend not in ("auto", "triton", "reference"):
        raise ValueError(f"backend must be 'auto', 'triton' or 'reference'; got {backend!r}")
    convolutions: Swaps = {
        "conv": causal_conv1d,
        "conv_step": _unless_recording(causal_conv1d_step, definition.causal_conv1d_step),
    }
    swaps: dict[type[nn.Module], Swaps] = {
        Mamba: {
            "scan": selective_scan,
            "scan_step": _unless_recording(state_step, selective_scan_step),
            **convolutions,
        },
        Mamba2: {"scan": ssd, "scan_step": _unless_recording(state_step, ssd_step), **convolutions},
        BidirectionalMamba: {"scan": selective_scan},
        SS2D: {"scan": selective_scan},
        GatedRMSNorm: {"norm": gated_rms_norm},
        RMSNorm: {"norm": _rms_norm},
    }
    swapped = False
    for module in model.modules():
        for kind, operators in swaps.items():
            if not isinstance(module, kind):
                continue
            for name, operator in operators.items():
                if _is_a_form_of(getattr(module, name), inspect.signature(kind).parameters[name]):
                    setattr(module, name, partial(operator, backend=backend))
                    swapped = True
    if not swapped:
        kinds = ", ".join(kind.__name__ for kind in swaps)
        raise ValueError(
            f"the model must contain one of {kinds}, with an operator that has a form here; "
            f"got {type(model).__name__}"
        )
    for module in model.modules():
        if isinstance(module, block.SelectiveBlock):
            module.rate = partial(_rate, backend=backend)
        if isinstance(module, LanguageModel) and all(map(_has_scale, module.blocks)):
            module.join = partial(_join, backend=backend)
    return model


def _rate(A_log: Tensor, *, backend: str) -> Tensor:
    """A in one launch, where it records no gradients."""
    recording = A_log.requires_grad and torch.is_grad_enabled()
    if recording or not uses_triton(backend, A_log):
        return block.decay_rate(A_log)
    return decay_rate(A_log)


def _has_scale(layer: Any) -> bool:
    """Whether the norm of a layer is one that `_join` can compute."""
    norm = layer.norm
    return type(norm) is RMSNorm and norm.weight is not None and len(norm.weight) <= MAX_WIDTH


def _join(
    norm: Any, x: Tensor, y: Tensor | None, dtype: torch.dtype, *, backend: str
) -> tuple[Tensor, Tensor]:
    """x + y and its norm, in one launch where Triton runs."""
    if not uses_triton(backend, x):
        x = x if y is None else x + y
        return x, norm(x).to(dtype)
    return add_rms_norm(x, y, norm.weight, eps=norm.eps, dtype=dtype)


def _is_a_form_of(operator: Operator, parameter: inspect.Parameter) -> bool:
    """Whether an operator computes what the default does: from the same module, or ours already.

    One of the references with options bound to it may compute something else.
    """
    inner = operator.func if isinstance(operator, partial) else operator
    if inner.__module__.startswith("ssm_kernels."):
        return True
    return inner is operator and bool(inner.__module__ == parameter.default.__module__)


def _rms_norm(x: Tensor, weight: Tensor | None, *, eps: float, backend: str) -> Tensor:
    """`rms_norm` as a gated one without a gate, where there is a weight."""
    if weight is None:
        return rms_norm(x, None, eps=eps)
    return gated_rms_norm(x, weight, eps=eps, backend=backend)


def _unless_recording(fast: Operator, slow: Operator) -> Operator:
    """`fast`, which has no gradients, and `slow` where they are asked for."""

    def step(*operands: Any, backend: str, **options: Any) -> Any:
        given = (*operands, *options.values())
        wanted = any(isinstance(t, Tensor) and t.requires_grad for t in given)
        if wanted and torch.is_grad_enabled():
            return slow(*operands, **options)
        return fast(*operands, backend=backend, **options)

    return step
