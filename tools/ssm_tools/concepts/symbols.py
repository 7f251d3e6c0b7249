"""Symbols of the reference and the kernels, found by griffe: read by path, never imported."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import griffe

PACKAGES = {"ssm_ref": "ssm_ref", "ssm_kernels": "kernels/ssm_kernels"}


@dataclass(frozen=True, slots=True)
class SymbolPlace:
    """Where a symbol is defined: a path relative to the project, first and last line."""

    path: str
    line: int
    end_line: int


def locate_symbol(root: Path, dotted: str) -> SymbolPlace | None:
    """Return where `package.module.Class.method` (or a module) is defined, or None.

    Names that a package re-exports lead to the definition, inherited methods to the base class.
    """
    found = _find(_tree(root), dotted)
    return _place(root, found) if found is not None else None


def public_symbols(root: Path) -> dict[str, SymbolPlace]:
    """Return every public function and class defined at module level, by dotted path."""
    modules = _tree(root).values()
    found = {symbol.path: symbol for module in modules for symbol in _public(module)}
    return {path: _place(root, symbol) for path, symbol in sorted(found.items())}


def _public(module: griffe.Module) -> Iterator[griffe.Object]:
    for name, member in module.members.items():
        if name.startswith("_") or isinstance(member, griffe.Alias):
            continue
        if isinstance(member, griffe.Module):
            yield from _public(member)
        elif isinstance(member, griffe.Function | griffe.Class):
            yield member


def _find(tree: dict[str, griffe.Module], dotted: str) -> griffe.Object | None:
    first, *rest = dotted.split(".")
    found: griffe.Object | griffe.Alias | None = tree.get(first)
    for name in rest:
        if found is None:
            return None
        try:
            target = found.final_target if isinstance(found, griffe.Alias) else found
            inherited = target.inherited_members if isinstance(target, griffe.Class) else {}
            found = target.members.get(name) or inherited.get(name)
        except (griffe.AliasResolutionError, griffe.CyclicAliasError):
            return None
    if isinstance(found, griffe.Alias):
        try:
            return found.final_target
        except (griffe.AliasResolutionError, griffe.CyclicAliasError):
            return None
    return found


def _place(root: Path, symbol: griffe.Object) -> SymbolPlace:
    path = symbol.filepath
    relative = (path[0] if isinstance(path, list) else path).relative_to(root.resolve()).as_posix()
    line = 1 if isinstance(symbol, griffe.Module) else (symbol.lineno or 1)
    return SymbolPlace(relative, line, symbol.endlineno or line)


@contextmanager
def code_held(root: Path) -> Iterator[None]:
    """Look at the files of both packages once, not at each name: one build sees one state."""
    root = root.resolve()
    token = _held.set({**_held.get(), root: _tree(root)})
    try:
        yield
    finally:
        _held.reset(token)


# By project; a server that answers from another thread looks for itself.
_held: ContextVar[Mapping[Path, dict[str, griffe.Module]]] = ContextVar(
    "_held", default=MappingProxyType({})
)


def _tree(root: Path) -> dict[str, griffe.Module]:
    root = root.resolve()
    if (held := _held.get().get(root)) is not None:
        return held
    stamp = (
        (os.path.join(folder, name), info.st_mtime_ns, info.st_size)
        for package in PACKAGES.values()
        for folder, _, names in os.walk(root / package)
        for name in names
        if name.endswith(".py")
        for info in [os.stat(os.path.join(folder, name))]
    )
    return _load(root, tuple(sorted(stamp)))


@lru_cache(maxsize=4)
def _load(root: Path, stamp: tuple[tuple[str, int, int], ...]) -> dict[str, griffe.Module]:
    """Parse both packages; `stamp` makes an edit load them anew."""
    del stamp
    griffe.logger.setLevel(logging.CRITICAL)
    loader = griffe.GriffeLoader(
        search_paths=[root, root / "kernels"], allow_inspection=False, store_source=False
    )
    found = {}
    for name, folder in PACKAGES.items():
        if (root / folder / "__init__.py").is_file():
            module = loader.load(name, try_relative_path=False)
            if isinstance(module, griffe.Module):
                found[name] = module
    loader.resolve_aliases(external=False)
    return found
