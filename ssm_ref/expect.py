"""Checks at public edges: what was wanted and what came, before any work is done."""

import torch
from torch import Tensor


def expect_shape(name: str, tensor: object, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless `tensor` is a floating-point tensor of exactly `shape`."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} must be a tensor of shape {shape}; got {type(tensor).__name__}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}; got {tuple(tensor.shape)}")
    expect_float(name, tensor)


def expect_float(name: str, tensor: Tensor) -> None:
    """Raise `ValueError` unless `tensor` holds real floating-point numbers."""
    if not tensor.is_floating_point():
        raise ValueError(f"{name} must be floating point; got {tensor.dtype}")


def expect_sequence(name: str, u: Tensor, d: int) -> None:
    """Raise `ValueError` unless `u` is a floating-point (batch, length ≥ 1, d); batch 0 is fine."""
    if u.ndim != 3 or u.shape[2] != d:
        raise ValueError(f"{name} must have shape (batch, length, {d}); got {tuple(u.shape)}")
    if u.shape[1] == 0:
        raise ValueError(f"{name} must hold at least one time step; got shape {tuple(u.shape)}")
    expect_float(name, u)


def expect_token(name: str, u_t: Tensor, d: int) -> None:
    """Raise `ValueError` unless `u_t` is a floating-point (batch, d): one time step of a batch."""
    if u_t.ndim != 2 or u_t.shape[1] != d:
        raise ValueError(f"{name} must have shape (batch, {d}); got {tuple(u_t.shape)}")
    expect_float(name, u_t)


def state_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype a recurrent state is kept in beside `tensor`: never narrower than float32."""
    return torch.promote_types(tensor.dtype, torch.float32)
