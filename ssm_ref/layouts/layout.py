"""What a checkpoint layout is: which configuration it has and where each of its tensors goes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class Place:
    """Where one stored tensor lives: the `parts` stacked along the first axis, seen as `shape`.

    With `row` it is that entry of a parameter that stacks several stored tensors (experts). With
    `rows` part i is those rows of its parameter alone: what one side keeps together and the other
    apart, or in another order. With `order` the file's columns (second axis) are these of ours.
    """

    parts: tuple[str, ...]
    shape: tuple[int, ...]
    row: int | None = None
    rows: tuple[slice, ...] | None = None
    order: tuple[int, ...] | None = None

    @property
    def chosen(self) -> tuple[int | slice, ...]:
        """What is taken of each part: everything, one entry, or some rows."""
        if self.rows is not None:
            return self.rows
        return tuple(slice(None) if self.row is None else self.row for _ in self.parts)


@dataclass(frozen=True, slots=True)
class Layout:
    """One checkpoint format.

    `recognises(config)` tells whether a config.json is of this format, `build(config)` makes the
    model, `describes(model)` tells whether it can store a model, `describe(model)` gives its
    config.json, and `places(model)` maps each stored name to its place. `aliases` are names that a
    file may hold beside those, when equal to the tensor they name (tied embeddings).
    """

    name: str
    recognises: Callable[[Mapping[str, Any]], bool]
    build: Callable[[Mapping[str, Any]], nn.Module]
    describes: Callable[[nn.Module], bool]
    describe: Callable[[nn.Module], dict[str, Any]]
    places: Callable[[nn.Module], dict[str, Place]]
    aliases: Mapping[str, str] = field(default_factory=dict)


def renamed(model: nn.Module, names: Mapping[str, str]) -> dict[str, Place]:
    """Places of parameters that are stored as they are, from our name to the stored name.

    Raises `ValueError` if the names leave out a parameter or name one that does not exist.
    """
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    if wrong := shapes.keys() ^ names.keys():
        raise ValueError(f"the layout and the model disagree about {sorted(wrong)[:8]}")
    return {theirs: Place((ours,), shapes[ours]) for ours, theirs in names.items()}


def require(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `ValueError` where `config` has another value than the only one supported."""
    for name, value in wanted.items():
        if name in config and config[name] != value:
            raise ValueError(f"config.json: {name} must be {value!r}; got {config[name]!r}")


def entry(config: Mapping[str, Any], name: str) -> Any:
    """`config[name]`, or a `ValueError` that says which entry is missing."""
    if name not in config:
        raise ValueError(f"config.json has no entry {name!r}; it has {sorted(config)}")
    return config[name]
