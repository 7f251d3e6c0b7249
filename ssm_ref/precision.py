"""Where a layer of half precision computes in float32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ssm_ref.expect import state_dtype


def widened(tensor: Tensor) -> Tensor:
    """`tensor` in its `state_dtype`."""
    return tensor.to(state_dtype(tensor))


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """A block whose products keep the dtype of their operands on the device of `tensor`."""
    kind = tensor.device.type  # "meta" knows no autocast
    off = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if off else nullcontext()
