"""What figures say in other languages: `docs/labels.yml`.

A snippet runs once and draws in English. Where a project has this file, each figure is laid out and
drawn again for every language in it, with the words put in as they stand there:

    names: [Mamba]                     # words that are the same in every language
    ru:
      time step: шаг по времени
      width {}: ширина {}              # {} stands for a number, the same in every language

Numbers are spelt as each language does: 10,024.5 is 10 024,5 in Russian and 2,048 is 2048, on
ticks as well. A label without an entry is a finding. Symbols, numbers, formulas between dollars and
names that show as such (SSM, RetNet, d_state, bf16) need none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

FILE = Path("docs") / "labels.yml"
FORMULA = re.compile(r"\$[^$]*\$")
NUMBER = re.compile(r"(?<![\w.-])\d+(?:[.,]\d+)*(?!\w)")
WORD = re.compile(r"[A-Za-z][\w-]*[A-Za-z]\b")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
POINT = re.compile(r"(?<=\d)\.(?=\d)")
COMMA = frozenset({"ru"})  # languages that write 10 024,5 and 2048
HOLE = "{}"

Entries = Mapping[str, Mapping[str, str]]  # language → label → what it says there


class LabelsError(ValueError):
    """What is wrong with `docs/labels.yml`."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a project: for each language its own words, and names that all share."""

    names: frozenset[str] = frozenset()
    entries: Entries = field(default_factory=dict)

    def said(self, label: str) -> dict[str, str]:
        """Return what a label says in each language, empty where an entry is missing."""
        own = "" if has_words(label, self.names) else label
        return {
            language: spelt(translated(label, entries) or own, language)
            for language, entries in self.entries.items()
        }


def translated(label: str, entries: Mapping[str, str]) -> str:
    """Return what a language says for a label, with the label's own numbers; empty if nothing."""
    if label in entries:
        return entries[label]
    said = entries.get(NUMBER.sub(HOLE, label), "")
    for number in NUMBER.findall(label):
        said = said.replace(HOLE, number, 1)
    return said


def spelt(label: str, language: str) -> str:
    """Return a label with its numbers as the language writes them."""
    if language not in COMMA:
        return label
    parts = re.split(f"({FORMULA.pattern})", label)
    for i, part in enumerate(parts):
        point = "{,}" if i % 2 else ","
        number = partial(_with_comma, point=point)
        parts[i] = NUMBER.sub(number, part)
    return "".join(parts)


def _with_comma(number: re.Match[str], point: str) -> str:
    if number[0].count(".") > 1:  # a version
        return number[0]
    short = len(number[0].partition(".")[0]) <= len("9,999")
    return POINT.sub(point, THOUSANDS.sub("" if short else "\N{NO-BREAK SPACE}", number[0]))


def has_letters(label: str) -> bool:
    """Return whether a label has letters outside formulas: it may read otherwise elsewhere."""
    return any(mark.isalpha() for mark in FORMULA.sub("", label))


def has_words(label: str, names: frozenset[str]) -> bool:
    """Return whether a label says something in a language, rather than symbols and names."""
    words = WORD.findall(FORMULA.sub(" ", label))
    return any(word not in names and not _is_name(word) for word in words)


def _is_name(word: str) -> bool:
    """Return whether a word shows by its letters that it is a name: SSM, RetNet, d_state, bf16."""
    return "_" in word or any(mark.isdigit() or mark.isupper() for mark in word[1:])


def load_labels(root: Path) -> Labels:
    """Return the labels of a project; none where it has no `docs/labels.yml`.

    Raises:
        LabelsError: the file is not YAML, not of this shape, or an entry loses a number.
    """
    path = root / FILE
    if not path.is_file():
        return Labels()
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LabelsError(f"{FILE.as_posix()}: not YAML: {error}") from None
    if not isinstance(data, dict):
        raise LabelsError(f"{FILE.as_posix()}: a mapping of languages was wanted; got {data!r}")
    names = data.pop("names", None) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LabelsError(f"{FILE.as_posix()}: names must be a list of words; got {names!r}")
    for language, entries in data.items():
        for label, said in entries.items() if isinstance(entries, dict) else [("", entries)]:
            if not isinstance(label, str) or not isinstance(said, str) or not label or not said:
                wanted = "label: what it says there"
                raise LabelsError(
                    f"{FILE.as_posix()}: {language}: {wanted}; got {label!r}: {said!r}"
                )
            if label.count(HOLE) != said.count(HOLE):
                message = f"{said!r} must have as many {HOLE} as {label!r}"
                raise LabelsError(f"{FILE.as_posix()}: {language}: {message}")
    return Labels(frozenset(names), data)
