"""A concept's ties, as its file under docs/concepts declares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

LANGUAGES = ("ru", "en")
EvidenceKind = Literal["test", "snippet", "measurement", "paper"]
EVIDENCE: tuple[EvidenceKind, ...] = ("test", "snippet", "measurement", "paper")


class Tie(str):
    """A name as written in a concept file, and where: lines and columns count from 1."""

    line: int
    column: int
    __slots__ = ("column", "line")

    def __new__(cls, text: str, line: int = 1, column: int = 1) -> Tie:
        """Return the text with its place."""
        tie = super().__new__(cls, text)
        tie.line, tie.column = line, column
        return tie


@dataclass(frozen=True, slots=True)
class Kernel:
    """A fast form of the concept and the test that holds it to the definition."""

    symbol: Tie
    parity: Tie


@dataclass(frozen=True, slots=True)
class Claim:
    """A checkable sentence in each language, and the one piece of evidence for it."""

    id: Tie
    texts: Mapping[str, str]
    kind: EvidenceKind
    evidence: Tie


@dataclass(frozen=True, slots=True)
class Concept:
    """Everything that is about a concept in any language. `path` is relative to the project."""

    slug: str
    path: str
    family: Tie
    year: int | None = None
    requires: tuple[Tie, ...] = ()
    implementation: tuple[Tie, ...] = ()
    symbols: tuple[Tie, ...] = ()
    kernels: tuple[Kernel, ...] = ()
    tests: tuple[Tie, ...] = ()
    snippets: tuple[Tie, ...] = ()
    measurements: tuple[Tie, ...] = ()
    trained: tuple[Tie, ...] = ()
    claims: tuple[Claim, ...] = ()
    papers: tuple[Tie, ...] = field(default=())

    def note(self, language: str) -> str:
        """Return the path of the concept's note in a language, relative to the project."""
        return f"docs/{language}/ssm/{self.family}/{self.slug}.md"

    @property
    def snippet_ids(self) -> tuple[Tie, ...]:
        """The full ids of the snippets: a bare name is one of this concept's own."""
        return tuple(self.snippet_id(name) for name in self.snippets)

    def snippet_id(self, name: Tie) -> Tie:
        """Return a snippet's full id, at the place of its name."""
        return name if "/" in name else Tie(f"{self.slug}/{name}", name.line, name.column)
