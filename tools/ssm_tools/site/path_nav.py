"""A page's place on the learning paths: which step it is, what is before and what after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape

from ssm_tools.concepts.paths import KEY, ReadingPath
from ssm_tools.notes import NoteId


def paths_html(
    paths: Iterable[ReadingPath],
    note: NoteId,
    words: Mapping[str, str],
    link: Callable[[NoteId, str], tuple[str, str]],
) -> str:
    """Return the place of a note on each path that it is on, empty if on none.

    `link` gives the address of a note, with a fragment, and the note's title.
    """
    rows = "".join(_row(path, note, words, link) for path in paths)
    label = escape(words["place_on_paths"])
    return f'<nav class="paths" aria-label="{label}"><ul>{rows}</ul></nav>' if rows else ""


def _row(
    path: ReadingPath,
    note: NoteId,
    words: Mapping[str, str],
    link: Callable[[NoteId, str], tuple[str, str]],
) -> str:
    notes = [step.note for step in path.steps]
    if note not in notes:
        return ""
    index = notes.index(note)
    home = NoteId(note.partition("/")[0] + "/" + KEY)
    step = words["path_step"].format(n=path.steps[index].number, total=path.rows)
    parts = [f'<a href="{link(home, path.id)[0]}">{escape(path.title)}</a>, {step}']
    for near, rel, arrow in ((index - 1, "prev", "← {}"), (index + 1, "next", "{} →")):
        if 0 <= near < len(notes):
            href, title = link(notes[near], "")
            parts.append(f'<a rel="{rel}" href="{href}">{arrow.format(escape(title))}</a>')
    return f"<li>{' · '.join(parts)}</li>"
