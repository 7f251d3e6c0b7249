"""Names of notes that stand in a text without a link."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.text import text as text_rule
from markdown_it.token import Token

from ssm_tools.findings import Finding, Fix, Severity
from ssm_tools.notes.graph import Answers
from ssm_tools.notes.inline_rules import Scan, inline_parser
from ssm_tools.notes.model import Note
from ssm_tools.notes.reader import Reader
from ssm_tools.notes.resolution import Found
from ssm_tools.notes.slug import caseless
from ssm_tools.notes.spelling import spelt_as
from ssm_tools.notes.targets import without_suffix
from ssm_tools.notes.vault import Vault

_WORD = re.compile(r"\w+(?:-\w+)*")
MAX_WORDS = 5


def _text(state: StateInline, silent: bool) -> bool:
    start = state.pos
    if not text_rule(state, silent):
        return False
    if not silent and state.linkLevel == 0:
        state.env["prose"].append((start, state.pos))
    return True


@cache
def _parser() -> MarkdownIt:
    md = inline_parser()
    md.inline.ruler.at("text", _text)
    return md


class _ProseReader(Reader):
    """Collects the pieces of plain text outside headings, links, code and maths."""

    def __init__(self, note: Note) -> None:
        super().__init__(note.id, note.text, note.body_start)
        self.pieces: list[tuple[int, int, str]] = []  # offset in the file, line, text

    def _inline(self, token: Token, opener: Token | None) -> None:
        if opener is not None and opener.type == "heading_open":
            return
        is_cell = opener is not None and opener.type in ("th_open", "td_open")
        places = self._cell(token) if is_cell else self._text_places(token)
        md = _parser()
        env: dict[str, Any] = {"scan": Scan(token.content), "prose": []}
        if "references" in self.env:
            env["references"] = self.env["references"]
        md.inline.tokenize(StateInline(token.content, md, env, []))
        for start, end in env["prose"]:
            line = places.line_column(start)[0]
            self.pieces.append((places.offset(start), line, token.content[start:end]))


def prose(note: Note) -> list[tuple[int, int, str]]:
    """Pieces of plain text of a note: offset, line, text; no headings, links, code or maths."""
    reader = _ProseReader(note)
    reader.read()
    return reader.pieces


def unlinked_mentions(vault: Vault, answers: Answers) -> Iterator[Finding]:
    """Hints at the first place where a note names another that it links nowhere."""
    names: dict[str, dict[tuple[str, ...], set[str]]] = defaultdict(lambda: defaultdict(set))
    for note in vault.notes.values():
        for name in (note.title, *note.aliases, note.slug.replace("_", " ")):
            words = tuple(caseless(word) for word in _WORD.findall(name))
            if 0 < len(words) <= MAX_WORDS and len("".join(words)) > 2:
                names[note.language][words].add(note.id)
    for note in vault.notes.values():
        known = {a.target for a in answers[note.id] if isinstance(a, Found)} | {note.id}
        yield from _mentions(vault, note, names[note.language], known)


def _mentions(
    vault: Vault, note: Note, names: dict[tuple[str, ...], set[str]], known: set[str]
) -> Iterator[Finding]:
    said: set[str] = set()
    for offset, line, text in prose(note):
        words = list(_WORD.finditer(text))
        folded = [caseless(match.group()) for match in words]
        index = 0
        while index < len(words):
            for count in range(min(MAX_WORDS, len(words) - index), 0, -1):
                meant = names.get(tuple(folded[index : index + count]))
                if meant:
                    break
            else:
                index += 1
                continue
            start, end = words[index].start(), words[index + count - 1].end()
            if len(meant) == 1 and not meant & (known | said):
                said |= meant
                yield _mention(vault, note, offset + start, line, text[start:end], *meant)
            index += count


def _mention(vault: Vault, note: Note, start: int, line: int, text: str, target: str) -> Finding:
    bare = without_suffix(target)
    name = spelt_as("", bare, vault, note)
    column = start - note.line_starts[line - 1] + 1
    link = f"[[{name}|{text}]]" if name != text else f"[[{name}]]"
    fix = Fix(start, start + len(text), link)
    message = f"{text!r} names {target}, which is linked nowhere in this note"
    hint = f"write {link}"
    where = (note.id, line, column, "G004", message, hint, Severity.HINT, column + len(text))
    return Finding(*where, fix=fix)
