"""After any edits a kept vault says what a fresh one says, and does no more than it must."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssm_tools.notes import NoteId, check_vault, load_vault, resolve_all
from ssm_tools.notes.session import Session


def write(root: Path, path: str, text: str | None) -> None:
    target = root / path
    if text is None:
        target.unlink(missing_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def same(session: Session) -> None:
    fresh = load_vault(session.root)
    assert session.answers == resolve_all(fresh)
    plain = [(str(f), f.fix) for f in check_vault(fresh)]
    assert [(str(f), f.fix) for f in session.findings()] == plain


EDITS = [
    ("a.md", "[[b]] more", {"a.md"}),
    ("b.md", "# Other", {"b.md", "a.md"}),
    ("b.md", "# H\n\nmore text", {"b.md"}),
    ("new.md", "# asked in vain", {"new.md", "c.md"}),
    ("b.md", None, {"a.md"}),
    ("b.md", "---\naliases: [nick]\n---\n# H", {"b.md", "d.md"}),
    ("x/b.md", "a second b", {"x/b.md", "a.md"}),
    ("p.png", "picture", {"d.md"}),
    ("e.md", "[[nothing]]", {"e.md"}),
]


@pytest.mark.parametrize(("path", "text", "resolved"), EDITS, ids=[row[0] for row in EDITS])
def test_an_edit_resolves_what_asked_for_it(
    tmp_path: Path, path: str, text: str | None, resolved: set[str]
) -> None:
    files = {"a.md": "[[b#H]]", "b.md": "# H", "c.md": "[[New]]", "d.md": "[[nick]] ![[p.png]]"}
    for name, body in files.items():
        write(tmp_path, name, body)
    session = Session(tmp_path)
    same(session)
    write(tmp_path, path, text)
    session.refresh()
    assert session.resolved == resolved
    same(session)
    assert session.refresh() == set()


NAMES = st.sampled_from(["a", "b", "B", "x/a", "x/b", "y/b", "x/index", "ё", "е"])
TEXTS = st.sampled_from(
    ["[[b]]", "[[B#h]] [[x]]", "# h\n[[a]]", "# H {#h}\n[[ё]]", "---\naliases: [b, q]\n---\n[[q]]"]
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(NAMES, st.none() | TEXTS), min_size=1, max_size=8))
def test_any_edits(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, str | None]]
) -> None:
    root = tmp_path_factory.mktemp("vault")
    write(root, "start.md", "[[b]] [[q]] [[x/b]]")
    session = Session(root)
    for name, text in edits:
        write(root, f"{name}.md", text)
        session.refresh()
    assert session.answers == resolve_all(load_vault(root))


def test_overlays_stand_for_files(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "[[b]]")
    session = Session(tmp_path)
    session.overlays[NoteId("a.md")] = "[[a]]"
    assert session.refresh() == {"a.md"}
    assert session.vault.notes[NoteId("a.md")].text == "[[a]]"
    del session.overlays[NoteId("a.md")]
    session.refresh()
    assert session.vault.notes[NoteId("a.md")].text == "[[b]]"
