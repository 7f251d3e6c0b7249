"""One call that gives a reference model the Triton operators."""

from functools import partial

from torch import nn

from ssm_kernels.causal_conv1d.op import causal_conv1d, causal_conv1d_step
from ssm_kernels.selective_scan.op import selective_scan
from ssm_ref.selective.mamba import Mamba


def accelerate(model: nn.Module, *, backend: str = "auto") -> nn.Module:
    """`model` itself, with the scan and convolutions of its Mamba blocks swapped for operators.

    `backend` is handed to every operator. Parameters, names and results stay as they were, to
    rounding. Raises `ValueError` for an unknown backend or a model without a Mamba block.
    """
    if backend not in ("auto", "triton", "reference"):
        raise ValueError(f"backend must be 'auto', 'triton' or 'reference'; got {backend!r}")
    blocks = [module for module in model.modules() if isinstance(module, Mamba)]
    if not blocks:
        raise ValueError(f"the model must contain Mamba blocks; got {type(model).__name__}")
    for block in blocks:
        block.scan = partial(selective_scan, backend=backend)
        block.conv = partial(causal_conv1d, backend=backend)
        block.conv_step = partial(causal_conv1d_step, backend=backend)
    return model
