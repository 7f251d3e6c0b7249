"""Whether every public symbol belongs to a concept, and every kernel has its parity test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ssm_tools.concepts.model import Concept
from ssm_tools.concepts.symbols import SymbolPlace, locate_symbol, public_symbols
from ssm_tools.findings import Finding


def owners(root: Path, concepts: Mapping[str, Concept]) -> dict[str, tuple[str, ...]]:
    """Return the concepts that each public symbol belongs to, by dotted path.

    A tie to a module or package owns everything in it, a tie to a kernel all of its folder.
    """
    places: dict[SymbolPlace, set[str]] = {}
    prefixes: dict[str, set[str]] = {}
    for concept in concepts.values():
        folders = (".".join(kernel.symbol.split(".")[:2]) for kernel in concept.kernels)
        for tie in (*concept.implementation, *concept.symbols, *folders):
            prefixes.setdefault(tie, set()).add(concept.slug)
            if place := locate_symbol(root, tie):
                places.setdefault(place, set()).add(concept.slug)
    found = {}
    for path, place in public_symbols(root).items():
        parts = path.split(".")
        named = {
            slug
            for end in range(1, len(parts) + 1)
            for slug in prefixes.get(".".join(parts[:end]), ())
        }
        # A tie may name what a package re-exports or a member: it owns the symbol around it.
        inside = {
            slug
            for other, slugs in places.items()
            if other.path == place.path and place.line <= other.line <= place.end_line
            for slug in slugs
            if other.line > 1 or place.line == 1
        }
        found[path] = tuple(sorted(named | inside))
    return found


def uncovered(root: Path, concepts: Mapping[str, Concept]) -> Iterator[Finding]:
    """Yield a finding for every file with symbols of no concept and operator without a test."""
    places = public_symbols(root)
    free: dict[str, list[str]] = {}
    for symbol, slugs in owners(root, concepts).items():
        if not slugs:
            free.setdefault(places[symbol].path, []).append(symbol)
    for path, symbols in free.items():
        first, *rest = sorted(symbols, key=lambda symbol: places[symbol].line)
        more = f" (and {len(rest)} more of this file)" if rest else ""
        hint = "name it or its module under implementation or symbols in docs/concepts"
        message = f"{first}{more} belongs to no concept"
        yield Finding(path, places[first].line, 1, "C018", message, hint)
    tied = {
        where.path
        for concept in concepts.values()
        for kernel in concept.kernels
        if (where := locate_symbol(root, kernel.symbol))
    }
    for op in sorted((root / "kernels" / "ssm_kernels").glob("*/op.py")):
        relative = op.relative_to(root).as_posix()
        if relative not in tied:
            hint = "name it under kernels, with its parity test, in docs/concepts"
            yield Finding(relative, 1, 1, "C017", "the kernel is tied to no parity test", hint)
