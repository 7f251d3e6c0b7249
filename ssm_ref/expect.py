"""Checks at public edges: what was wanted and what came, before any work is done.

Layers and models refuse NaN and what is not in their own dtype or on their own device; operators
(scans, convolutions, norms) hand NaN on to what depends on it. The values themselves are looked at
on a CPU alone: elsewhere reading them back would stall the device, and a compiled graph cannot.
"""

from dataclasses import fields
from numbers import Integral
from types import NoneType, UnionType
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin

import torch
from torch import Tensor


def expect_counts(config: Any, *at_least_one: str) -> None:
    """Raise `ValueError` unless every field of a config that is declared integral counts something.

    Declared integral are int and tuples of int, in a union too, whose None or words then pass.
    They must be integers and not negative, and those named in `at_least_one` not zero either. A
    name there that is no field is an error too: a misspelt one would check nothing.
    """
    if unknown := set(at_least_one) - {field.name for field in fields(config)}:
        names = ", ".join(sorted(unknown))
        raise ValueError(f"at_least_one must name fields of {type(config).__name__}; got {names}")
    for field in fields(config):
        value, declared = getattr(config, field.name), field.type
        kinds = get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,)
        words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
        if (value is None and NoneType in kinds) or (isinstance(value, str) and value in words):
            continue
        several = any(get_origin(kind) is tuple and int in get_args(kind) for kind in kinds)
        if several and not (isinstance(value, list | tuple) and all(map(is_integer, value))):
            raise ValueError(f"{field.name} must be integers; got {value!r}")
        if int in kinds and not is_integer(value):
            raise ValueError(f"{field.name} must be an integer; got {value!r}")
        if (int in kinds and value < 0) or (several and min(value, default=0) < 0):
            raise ValueError(f"{field.name} must not be negative; got {value}")
        if field.name in at_least_one and value < 1:
            raise ValueError(f"{field.name} must be at least 1; got {value}")


def is_integer(value: object) -> TypeGuard[int]:
    """Whether `value` may count things: an integer of Python, NumPy or a traced shape; no bool."""
    return isinstance(value, Integral | torch.SymInt) and not isinstance(value, bool)


def expect_sizes(**sizes: object) -> None:
    """Raise `ValueError` unless every one of `sizes` is an integer of at least 1."""
    if not all(is_integer(size) and size >= 1 for size in sizes.values()):
        got = " and ".join(map(repr, sizes.values()))
        raise ValueError(f"{' and '.join(sizes)} must be integers of at least 1; got {got}")


def expect_batch(batch: object) -> None:
    """Raise `ValueError` unless `batch` is a number of rows: an integer, 0 or more."""
    if not is_integer(batch):
        raise ValueError(f"batch must be an integer; got {batch!r}")
    if batch < 0:
        raise ValueError(f"batch must not be negative; got {batch}")


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


def expect_numbers(name: str, tensor: Tensor, like: Tensor | None = None) -> None:
    """Raise `ValueError` for NaN, and for a tensor that a layer with the weight `like` cannot read.

    Under autocast any floating-point dtype will do.
    """
    expect_float(name, tensor)
    if like is not None:
        if tensor.device != like.device:
            raise ValueError(f"{name} must be on {like.device} like the layer; got {tensor.device}")
        kind = tensor.device.type  # "meta" knows no autocast
        autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        free = autocast or not like.is_floating_point()
        if not free and tensor.dtype != like.dtype:
            raise ValueError(f"{name} must be {like.dtype} like the layer; got {tensor.dtype}")
    # One fast pass first: a sum is NaN where a number is, and where infinities of both signs are.
    if readable(tensor) and bool(tensor.detach().sum().isnan()) and bool(tensor.isnan().any()):
        raise ValueError(f"{name} must hold no NaN; got {int(tensor.isnan().sum())} of them")


def expect_axes(axes: str, *operands: Tensor) -> None:
    """Raise `ValueError` unless the operands have the axes named in `axes`, as "q blhn, v blhp".

    One letter an axis: equal letters are equal lengths, and l is at least 1. All operands must be
    floating point and on one device.
    """
    lengths: dict[str, int] = {}
    for entry, tensor in zip(axes.split(", "), operands, strict=True):
        name, letters = entry.split(" ")
        known = ", ".join(f"{a} = {lengths[a]}" if a in lengths else a for a in letters)
        if tensor.ndim != len(letters) or any(
            lengths.setdefault(a, n) != n for a, n in zip(letters, tensor.shape, strict=True)
        ):
            raise ValueError(f"{name} must have shape ({known}); got {tuple(tensor.shape)}")
        expect_float(name, tensor)
        if tensor.device != operands[0].device:
            raise ValueError(f"{name} must be on {operands[0].device}; got {tensor.device}")
    if lengths.get("l") == 0:
        raise ValueError("a sequence must hold at least one time step; got none")


def readable(tensor: Tensor) -> bool:
    """Whether values can be looked at without stalling a device or breaking a compiled graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def expect_sequence(name: str, u: Tensor, d: int, like: Tensor | None = None) -> None:
    """Raise `ValueError` unless `u` is numbers of shape (batch, length ≥ 1, d); batch 0 is fine."""
    if u.ndim != 3 or u.shape[2] != d:
        raise ValueError(f"{name} must have shape (batch, length, {d}); got {tuple(u.shape)}")
    if u.shape[1] == 0:
        raise ValueError(f"{name} must hold at least one time step; got shape {tuple(u.shape)}")
    expect_numbers(name, u, like)


def expect_token(name: str, u_t: Tensor, d: int, like: Tensor | None = None) -> None:
    """Raise `ValueError` unless `u_t` is numbers of shape (batch, d): one time step of a batch."""
    if u_t.ndim != 2 or u_t.shape[1] != d:
        raise ValueError(f"{name} must have shape (batch, {d}); got {tuple(u_t.shape)}")
    expect_numbers(name, u_t, like)


def expect_features(name: str, u: Tensor, d: int, like: Tensor | None = None) -> None:
    """Raise `ValueError` unless `u` is numbers of shape (…, d)."""
    if u.ndim < 1 or u.shape[-1] != d:
        raise ValueError(f"{name} must have shape (…, {d}); got {tuple(u.shape)}")
    expect_numbers(name, u, like)


def state_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype a recurrent state is kept in beside `tensor`: never narrower than float32."""
    return torch.promote_types(tensor.dtype, torch.float32)
