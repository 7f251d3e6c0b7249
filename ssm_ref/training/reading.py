"""TOML tables as frozen dataclasses: every error names the file, the key, its value and the wish.

A dataclass is the schema: its fields are the keys, its annotations the types, its defaults what
may be left out, and its own checks speak last.
"""

import dataclasses
import difflib
import enum
import tomllib
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; `ValueError` for one that is missing or is no TOML."""
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise ValueError(f"{path}: {what}; a TOML file is wanted")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from error


def close_to(name: str, known: Iterable[str]) -> str:
    """What was probably meant by `name`, and all that it could have been."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}(one of {', '.join(known)})"


def read(cls: type[T], table: Mapping[str, Any], where: str, given: Mapping[str, Any]) -> T:
    """One `cls` from `table`, with `given` for what the table leaves out."""
    return read_together((cls,), table, where, given)[0]


def read_together(
    classes: tuple[type[Any], ...], table: Mapping[str, Any], where: str, given: Mapping[str, Any]
) -> tuple[Any, ...]:
    """One object of every class from one table: a key goes to all classes that have the field.

    Raises `ValueError` for a key of no class, a value of another type, a key that is missing, and
    for what a class itself refuses.
    """
    keys = {field.name for cls in classes for field in dataclasses.fields(cls) if field.init}
    for key in table.keys() - keys:
        raise ValueError(f"{where}.{key} = {table[key]!r}: no such key; {close_to(key, keys)}")
    return tuple(_read_one(cls, table, where, given) for cls in classes)


def _read_one(
    cls: type[Any], table: Mapping[str, Any], where: str, given: Mapping[str, Any]
) -> Any:
    hints, values = get_type_hints(cls), {}
    for field in dataclasses.fields(cls):
        if field.name in table:
            place = f"{where}.{field.name}"
            values[field.name] = convert(hints[field.name], table[field.name], place)
        elif field.name in given:
            values[field.name] = given[field.name]
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            wanted = describe(hints[field.name])
            raise ValueError(f"{where}.{field.name} is missing; it must be {wanted}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotation `hint` wants it; `ValueError` where it does not fit."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, dict):
            return read_together((hint,), value, where, {})[0]
    elif get_origin(hint) in (Union, types.UnionType):
        for choice in get_args(hint):
            try:
                return convert(choice, value, where)
            except ValueError:
                continue  # the next choice may fit; below, none did
    elif get_origin(hint) is Literal:
        if any(value == choice and type(value) is type(choice) for choice in get_args(hint)):
            return value
    elif get_origin(hint) is tuple:
        if isinstance(value, list) and (kinds := _kinds(hint, len(value))) is not None:
            pairs = enumerate(zip(kinds, value, strict=True))
            return tuple(convert(kind, part, f"{where}[{i}]") for i, (kind, part) in pairs)
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value in [choice.value for choice in hint]:
            return hint(value)
    elif hint is float and type(value) in (int, float):
        return float(value)
    elif hint in NAMES and type(value) is hint:
        return value
    raise ValueError(f"{where} = {value!r}: it must be {describe(hint)}")


def describe(hint: Any) -> str:
    """What an annotation wants, in words."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(describe(part) for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        many = "several" if parts[-1] is ... else str(len(parts))
        return f"a list of {many}, each {describe(parts[0])}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of " + ", ".join(repr(choice.value) for choice in hint)
    return NAMES.get(hint, "a table")


def _kinds(hint: Any, count: int) -> tuple[Any, ...] | None:
    """The annotation of each of `count` entries of a tuple; None where they are not as many."""
    parts = get_args(hint)
    if parts[-1] is ...:
        return (parts[0],) * count
    return parts if len(parts) == count else None
