"""Findings of one note's links: broken, ambiguous, loosely spelt, out of the vault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from urllib.parse import unquote

from ssm_tools.findings import Finding, Fix
from ssm_tools.notes.codes import CODES
from ssm_tools.notes.fragments import find_place, obsidian_text
from ssm_tools.notes.model import Heading, Link, LinkKind, Note, NoteId
from ssm_tools.notes.parity import same_outline
from ssm_tools.notes.resolution import Ambiguous, Answer, External, Found, Missing, Tier, resolve
from ssm_tools.notes.spelling import spelt_as
from ssm_tools.notes.suggest import Suggester, heading_names, note_names
from ssm_tools.notes.targets import is_external, scheme, without_suffix
from ssm_tools.notes.vault import Vault

MAX_TRANSLATIONS = 3  # of a note, in whose headings one like the wanted is looked for
MAX_KNOWN = 64  # notes whose headings are kept for suggestions
_UNSAFE = {"javascript", "vbscript", "data"}


class LinkChecker:
    """Turns answers into findings; what it needs for suggestions is made when first asked for."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.suggesters: dict[str, Suggester] = {}  # by language
        self._known_targets: dict[str, dict[str, list[int]]] = {}  # of the last note asked for
        self._known_orders: dict[str, dict[int, int]] = {}
        self._known_places: dict[str, Suggester] = {}

    def suggester(self, language: str) -> Suggester:
        """The names of the notes of one language."""
        if language not in self.suggesters:
            named = (self.vault.named or self.vault.notes).values()
            names = note_names(note for note in named if note.language == language)
            self.suggesters[language] = Suggester(names)
        return self.suggesters[language]

    @cached_property
    def files(self) -> Suggester:
        """Names of the other files."""
        return Suggester((path.rpartition("/")[2], path) for path in self.vault.files)

    def renew(self) -> None:
        """Let suggestions take time again: a kept vault asks for few at once."""
        for suggester in (*self.suggesters.values(), *self._known_places.values()):
            suggester.measured = 0
        self._known_targets = {}

    def findings(self, note: Note, answers: Sequence[Answer]) -> Iterator[Finding]:
        """Findings of the note's links, in their order."""
        for link, answer in zip(note.links, answers, strict=True):
            match answer:
                case Found():
                    yield from self._found(note, link, answer)
                case Missing():
                    yield self._missing(note, link, answer)
                case Ambiguous():
                    yield self._ambiguous(note, link, answer)
                case External(url):
                    if scheme(url) in _UNSAFE:
                        yield _unsafe(note, link)

    def _found(self, note: Note, link: Link, answer: Found) -> Iterator[Finding]:
        tier, place = answer.tier, answer.place
        if tier is Tier.OTHER_LANGUAGE:
            message = f"{link.path!r} is only in another language: {answer.target}"
            yield _finding(note, link, "L009", message)
        elif tier is Tier.ALIAS:
            message = f"{link.path!r} is an alias of {answer.target}"
            yield _finding(note, link, "L008", message, fix=self._renamed(note, link, answer))
        elif not tier.plain:
            message = f"{link.path!r} is spelt {_name(answer.target)!r} ({tier})"
            yield _finding(note, link, "L007", message, fix=self._renamed(note, link, answer))
        if place is None or link.block:
            return
        if place.twins:
            message = f"heading {link.fragment[-1]!r} stands {place.twins + 1} times; the first"
            yield _finding(note, link, "L012", f"{message} is taken", f"link to #{place.id}")
        elif place.spelling not in ("exact", "slug"):
            assert isinstance(place.target, Heading)
            message = f"heading {link.fragment[-1]!r} is written {place.target.text!r}"
            fixed = "#".join((*link.fragment[:-1], obsidian_text(place.target.text)))
            yield _finding(note, link, "L011", message, fix=_fragment_fix(note, link, fixed))

    def _renamed(self, note: Note, link: Link, answer: Found) -> Fix | None:
        """Write the file's own name, or its path where the name alone means something else."""
        bare = without_suffix(answer.target)
        name = spelt_as(link.path, bare, self.vault, note)
        fragment = "".join(f"#{part}" for part in link.fragment)
        shown = ""
        if answer.tier is Tier.ALIAS and link.text is None and link.kind is LinkKind.WIKI:
            pipe = "\\|" if _in_table(note, link) else "|"
            shown = f"{pipe}{link.path}"
        if link.target_start < 0 or link.kind in (LinkKind.MARKDOWN, LinkKind.IMAGE):
            return None
        return Fix(link.target_start, link.target_end, f"{name}{fragment}{shown}")

    def _missing(self, note: Note, link: Link, answer: Missing) -> Finding:
        match answer.why:
            case "empty":
                return _finding(note, link, "L010", "an empty link")
            case "outside":
                return _finding(note, link, "L005", f"{link.path!r} leads out of the vault")
            case "heading" | "block":
                return self._no_place(note, link, answer)
        return self._no_note(note, link)

    def _no_place(self, note: Note, link: Link, answer: Missing) -> Finding:
        target = self.vault.notes[NoteId(answer.target)]
        if answer.why == "block":
            message = f"no block ^{link.block} in {target.id}"
            near = self._places(target, blocks=True).nearest(link.block)
            return _finding(note, link, "L004", message, _did_you_mean(f"^{n}" for n in near))
        wanted = link.fragment[-1]
        near = self._places(target).nearest(wanted)
        if not near:
            near = self._translated_heading(target, wanted) or self._same_link(note, link, target)
        message = f"no heading {wanted!r} in {target.id}"
        return _finding(note, link, "L003", message, _did_you_mean(f"#{n}" for n in near))

    def _places(self, note: Note, *, blocks: bool = False) -> Suggester:
        """The names of a note's headings or blocks, kept while it stays as it is."""
        key = f"{note.id} {note.digest} {blocks}"
        if key not in self._known_places:
            names = [(b.id, b.id) for b in note.blocks] if blocks else heading_names(note)
            if len(self._known_places) > MAX_KNOWN:
                self._known_places.clear()
            self._known_places[key] = Suggester(names)
        return self._known_places[key]

    def _translated_heading(self, target: Note, wanted: str) -> list[str]:
        """The target's heading whose twin in another language bears the wanted text."""
        others = [*self.vault.translations(target).values()]
        for other in others:
            place = find_place(other, (wanted,))
            if place is not None and same_outline(target, other):
                return [target.headings[place.index].id]
        own = {heading.id for heading in target.headings}
        for other in others[:MAX_TRANSLATIONS]:
            near = self._places(other).nearest(wanted, 1)
            if near and near[0] in own:
                return near
        return []

    def _same_link(self, note: Note, link: Link, target: Note) -> list[str]:
        """The heading that the link in this one's place means in a translation of the note."""
        for language, other in self.vault.translations(note).items():
            twin = self.vault.translations(target).get(language)
            if twin is None or not same_outline(target, twin):
                continue
            there = self._targets(other).get(twin.id, [])
            place = self._orders(note)[link.start]
            heading = there[place] if place < len(there) else -1
            if heading >= 0:
                return [target.headings[heading].id]
        return []

    def _targets(self, note: Note) -> dict[str, list[int]]:
        """For each note that this one links to, in order, the headings that the links mean."""
        key = f"{note.id} {note.digest}"
        if key not in self._known_targets:
            found: dict[str, list[int]] = {}
            for link in note.links:
                answer = resolve(self.vault, note, link)
                if isinstance(answer, Found):
                    place = answer.place
                    is_heading = place is not None and isinstance(place.target, Heading)
                    index = place.index if place is not None and is_heading else -1
                    found.setdefault(answer.target, []).append(index)
            self._known_targets = {key: found}
        return self._known_targets[key]

    def _orders(self, note: Note) -> dict[int, int]:
        """For each link, by where it starts, which one it is of those with its path."""
        key = f"{note.id} {note.digest}"
        if key not in self._known_orders:
            seen: dict[str, int] = {}
            orders: dict[int, int] = {}
            for link in note.links:
                orders[link.start] = seen.get(link.path, 0)
                seen[link.path] = orders[link.start] + 1
            self._known_orders = {key: orders}
        return self._known_orders[key]

    def _no_note(self, note: Note, link: Link) -> Finding:
        message = f"no note or file {link.path!r}"
        if scheme(link.path) in _UNSAFE:
            return _unsafe(note, link)
        if is_external(link.path) and link.kind is LinkKind.WIKI:
            return _finding(note, link, "L001", message, f"write [text]({link.path})")
        if link.path.startswith("www."):
            return _finding(note, link, "L001", message, f"write https://{link.path}")
        return _finding(note, link, "L001", message, _did_you_mean(self.near(note, link)))

    def near(self, note: Note, link: Link) -> list[str]:
        """Paths of the notes and files that a broken link may have meant."""
        name = link.path.rstrip("/").rpartition("/")[2]
        name = unquote(without_suffix(name))
        near = self.suggester(note.language).nearest(name)
        if not near and "." in name:
            near = self.files.nearest(name)
        for language in dict.fromkeys((*self.vault.languages, "")):
            if not near and language != note.language:
                near = self.suggester(language).nearest(name)
        return near

    def _ambiguous(self, note: Note, link: Link, answer: Ambiguous) -> Finding:
        some = ", ".join(answer.targets[:4]) + (" ..." if len(answer.targets) > 4 else "")
        message = f"{link.path!r} could mean {some}"
        return _finding(note, link, "L002", message, "write more of the path")


def alternatives(checker: LinkChecker, note: Note, link: Link, answer: Answer) -> Iterator[Fix]:
    """Each way to write a broken or ambiguous link that means something."""
    if link.target_start < 0 or link.kind in (LinkKind.MARKDOWN, LinkKind.IMAGE):
        return
    fragment = "".join(f"#{part}" for part in link.fragment)
    match answer:
        case Missing(_, "name"):
            targets: Sequence[str] = checker.near(note, link)
        case Ambiguous(targets):
            pass
        case Missing(_, "heading", target):
            found = checker.vault.notes[NoteId(target)]
            for name in Suggester(heading_names(found)).nearest(link.fragment[-1]):
                fixed = "#".join((*link.fragment[:-1], name))
                if fix := _fragment_fix(note, link, fixed):
                    yield fix
            return
        case _:
            return
    for target in targets:
        bare = without_suffix(target)
        name = spelt_as(link.path, bare, checker.vault, note)
        yield Fix(link.target_start, link.target_end, name + fragment)


def _unsafe(note: Note, link: Link) -> Finding:
    message = f"{scheme(link.path)}: is no destination for a reader"
    return _finding(note, link, "L006", message)


def _name(target: str) -> str:
    return without_suffix(target.rpartition("/")[2])


def _in_table(note: Note, link: Link) -> bool:
    """Whether a pipe stands before or after the text around the link: it is a cell of a table."""
    begin = note.line_starts[link.line - 1]
    before = note.text[begin : max(begin, link.context_start)]
    after = note.text[link.context_end : begin + len(note.line_text(link.line))]
    return before.rstrip().endswith("|") or after.lstrip().startswith("|")


def _fragment_fix(note: Note, link: Link, fragment: str) -> Fix | None:
    if link.target_start < 0 or link.kind in (LinkKind.MARKDOWN, LinkKind.IMAGE):
        return None
    mark = note.text.find("#", link.target_start, link.target_end)
    return Fix(mark + 1, link.target_end, fragment) if mark >= 0 else None


def _did_you_mean(names: object) -> str:
    found = list(names)  # type: ignore[call-overload]
    return f"did you mean {' or '.join(found)}?" if found else ""


def _finding(
    note: Note, link: Link, code: str, message: str, hint: str = "", *, fix: Fix | None = None
) -> Finding:
    if fix is not None and not hint:
        hint = f"write {fix.text}"
    starts = note.line_starts  # a line may be long: it is not cut out for each of its links
    stop = starts[link.line] - 1 if link.line < len(starts) else len(note.text)
    length = max(1, min(link.end, stop) - link.start)
    return Finding(
        path=note.id,
        line=link.line,
        column=link.column,
        code=code,
        message=message,
        hint=hint,
        severity=CODES[code].severity,
        end_column=link.column + length,
        fix=fix,
    )
