"""From what the inline rules saw to links, citations and claim marks with their places."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssm_tools.notes.inline_rules import Seen
from ssm_tools.notes.model import Citation, ClaimMark, Link, LinkKind
from ssm_tools.notes.places import Places
from ssm_tools.notes.targets import is_external, markdown_target, wiki_target

Definition = tuple[str, int, int]


@dataclass(slots=True)
class Records:
    """What the brackets of one note hold, in the order of the text."""

    links: list[Link] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    claims: list[ClaimMark] = field(default_factory=list)


def add_link(
    records: Records, seen: Seen, content: str, places: Places, definition: Definition | None
) -> None:
    """Add to the records what was seen in a block's text; `definition` is a label's."""
    if seen.kind in ("wiki", "embed"):
        _wiki(records, seen, content, places)
    else:
        _markdown(records, seen, content, places, definition)


def _wiki(records: Records, seen: Seen, content: str, places: Places) -> None:
    inner = content[seen.inner_start : seen.inner_end]
    start, end = places.offset(seen.start), places.offset(seen.end)
    line, column = places.line_column(seen.start)
    name = inner.strip()
    if seen.kind == "wiki" and name.startswith("@"):
        key, bar, shown = name[1:].partition("|")
        text = shown.strip() if bar else None
        key = key.rstrip("\\").strip()
        records.citations.append(Citation(key, text, start, end, line, column))
    elif seen.kind == "wiki" and name.startswith("claim:"):
        concept, _, claim = name[6:].partition("|")[0].strip().rpartition("/")
        records.claims.append(ClaimMark(concept, claim, start, end, line, column))
    else:
        target = wiki_target(inner)
        begin = places.offset(seen.inner_start + target.begin)
        stop = places.offset(seen.inner_start + target.end)
        what = (LinkKind(seen.kind), target.path, target.fragment, target.text, target.relation)
        where = (start, end, line, column, begin, stop, places.start, places.end)
        records.links.append(Link(*what, *where))


def _markdown(
    records: Records, seen: Seen, content: str, places: Places, definition: Definition | None
) -> None:
    if seen.inner_start >= 0:
        angle = content.startswith("<", seen.inner_start)
        href = seen.href
        begin = places.offset(seen.inner_start + angle)
        stop = places.offset(seen.inner_end - angle)
    elif definition is not None:
        href, begin, stop = definition
    else:
        return
    path, fragment = (href, ()) if is_external(href) else markdown_target(href)
    label = content[seen.start + (2 if seen.kind == "image" else 1) : seen.end]
    shown = label.partition("](")[0].partition("]")[0]
    what = (LinkKind(seen.kind), path, fragment, shown, "")
    line, column = places.line_column(seen.start)
    start, end = places.offset(seen.start), places.offset(seen.end)
    where = (start, end, line, column, begin, stop, places.start, places.end)
    records.links.append(Link(*what, *where))
