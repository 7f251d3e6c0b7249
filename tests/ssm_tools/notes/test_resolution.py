"""What links mean: each row is a vault, a link in one of its notes, and the answer."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from ssm_tools.notes import Ambiguous, External, Found, Missing, NoteId, load_vault, resolve

Files = dict[str, str]


def answer_to(root: Path, files: Files, source: str, link: str) -> object:
    for path, text in {**files, source: link}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    vault = load_vault(root)
    note = vault.notes[NoteId(source)]
    (found,) = note.links
    match resolve(vault, note, found):
        case Found(target, tier, fragment):
            return (target, str(tier), fragment)
        case Ambiguous(targets):
            return set(targets)
        case Missing(_, why):
            return why
        case External(url):
            return url
    return None


def of(*paths: str, **texts: str) -> Files:
    return dict.fromkeys(paths, "") | texts


NFD = unicodedata.normalize("NFD", "йод")
TWO = of("ru/x/a.md", "en/x/a.md")
ROWS = [
    # the exact path
    (of("b.md"), "a.md", "[[b]]", ("b.md", "exact", "")),
    (of("b.md"), "x/a.md", "[[b.md]]", ("b.md", "exact", "")),
    (of("x/b.md", "b.md"), "x/a.md", "[[b]]", ("b.md", "exact", "")),
    (of("x/y/b.md"), "a.md", "[[x/y/b]]", ("x/y/b.md", "exact", "")),
    (of("x/b.md", "y/x/b.md"), "a.md", "[[x/b]]", ("x/b.md", "exact", "")),
    (of("x/b.md"), "y/a.md", "[[/x/b]]", ("x/b.md", "exact", "")),
    (of("x/b.md"), "y/a.md", "[[../x/b]]", ("x/b.md", "exact", "")),
    (of("x/b.md"), "x/a.md", "[[./b.md]]", ("x/b.md", "exact", "")),
    (of("p/x/b.md"), "y/a.md", "[[../x/b]]", "name"),
    (of("p/b.md"), "y/a.md", "[[./b]]", "name"),
    (of("p/b.md"), "y/a.md", "[t](../b.md)", "name"),
    (of("X/b.md", "p/x/b.md"), "y/a.md", "[t](../x/B.md)", ("X/b.md", "case", "")),
    (of("X/b.md", "x/B.md"), "y/a.md", "[t](../x/b.md)", {"X/b.md", "x/B.md"}),
    (of("x/index.md"), "x/y/a.md", "[[..]]", ("x/index.md", "exact", "")),
    (of("Sub/My Note.md"), "a.md", "[y](My%20Note.md)", ("Sub/My Note.md", "language", "")),
    (of("Sq]uare.md"), "a.md", "[[Sq]uare]]", ("Sq]uare.md", "exact", "")),
    (of("x/b.md"), "y/z/a.md", "[[..\\..\\x\\b]]", ("x/b.md", "exact", "")),
    (of("b c.md"), "x/a.md", "[t](../b%20c.md)", ("b c.md", "exact", "")),
    (of("x/b.md", "b.md"), "x/a.md", "[t](b.md)", ("x/b.md", "exact", "")),
    (of("b.v1.md"), "a.md", "[[b.v1]]", ("b.v1.md", "exact", "")),
    # own folder, nearest, everywhere
    (of("x/b.md", "y/b.md"), "x/a.md", "[[b]]", ("x/b.md", "folder", "")),
    (of("x/y/b.md", "z/b.md"), "x/a.md", "[[b]]", ("x/y/b.md", "nearest", "")),
    (of("p/x/y/b.md", "z/b.md"), "p/x/q/a.md", "[[b]]", ("p/x/y/b.md", "nearest", "")),
    (of("x/b.md", "x/y/b.md"), "x/z/a.md", "[[b]]", ("x/b.md", "nearest", "")),
    (of("x/y/b.md"), "z/a.md", "[[b]]", ("x/y/b.md", "language", "")),
    (of("p/x/b.md", "p/y/b.md"), "a.md", "[[x/b]]", ("p/x/b.md", "language", "")),
    (of("p/x/b.md"), "p/a.md", "[[x/b]]", ("p/x/b.md", "nearest", "")),
    # several answers
    (of("x/b.md", "y/b.md"), "a.md", "[[b]]", {"x/b.md", "y/b.md"}),
    (of("x/b.md", "y/b.md", "z/b.md"), "q/a.md", "[[b]]", {"x/b.md", "y/b.md", "z/b.md"}),
    (of("x/B.md", "y/b.md"), "a.md", "[[B]]", ("x/B.md", "language", "")),
    (of("x/Ab.md", "y/aB.md"), "a.md", "[[ab]]", {"x/Ab.md", "y/aB.md"}),
    # looser spelling
    (of("йод.md"), "a.md", f"[[{NFD}]]", ("йод.md", "unicode", "")),
    (of(f"x/{NFD}.md"), "a.md", "[[йод]]", (f"x/{NFD}.md", "unicode", "")),
    (of("Mamba.md"), "a.md", "[[mamba]]", ("Mamba.md", "case", "")),
    (of("Ёж.md"), "a.md", "[[еж]]", ("Ёж.md", "yo", "")),
    (of("свертка.md"), "a.md", "[[свёртка]]", ("свертка.md", "yo", "")),
    (of("state_space_model.md"), "a.md", "[[state space-model]]", "separator"),
    (of("x/my note.md"), "a.md", "[[X/my_note]]", ("x/my note.md", "separator", "")),
    # aliases and the other language
    ({"b.md": "---\naliases: [S6]\n---\n"}, "a.md", "[[S6]]", ("b.md", "alias", "")),
    ({"b.md": "---\naliases: S6\n---\n"}, "a.md", "[[s6]]", ("b.md", "alias", "")),
    ({"b.md": "---\nalias: S5, S6\n---\n"}, "a.md", "[[S6]]", ("b.md", "alias", "")),
    (
        {"b.md": "---\naliases: [S6]\n---\n", "c.md": "---\naliases: [S6]\n---\n"},
        "a.md",
        "[[S6]]",
        {"b.md", "c.md"},
    ),
    ({**TWO, "ru/b.md": ""}, "en/c.md", "[[b]]", ("ru/b.md", "other-language", "")),
    ({**TWO, "ru/b.md": "", "en/b.md": ""}, "en/c.md", "[[b]]", ("en/b.md", "exact", "")),
    ({**TWO, "ru/b.md": "", "en/y/B.md": ""}, "en/c.md", "[[b]]", ("en/y/B.md", "case", "")),
    (TWO, "en/c.md", "[[ru/x/a]]", ("ru/x/a.md", "exact", "")),
    (TWO, "en/c.md", "[[/ru/x/a]]", ("ru/x/a.md", "exact", "")),
    (TWO, "en/c.md", "[[/x/a]]", ("en/x/a.md", "exact", "")),
    (TWO, "en/c.md", "[[../ru/x/a]]", ("ru/x/a.md", "exact", "")),
    # files and folder notes
    (of("img/p.png"), "x/a.md", "![[p.png|200]]", ("img/p.png", "language", "")),
    (of("img/p.png"), "x/a.md", "![i](../img/p.png)", ("img/p.png", "exact", "")),
    ({**TWO, "assets/p.png": ""}, "ru/c.md", "![[p.png]]", ("assets/p.png", "language", "")),
    (of("x/x.md", "x/b.md"), "a.md", "[[x]]", ("x/x.md", "language", "")),
    (of("x/y/index.md"), "a.md", "[[y]]", ("x/y/index.md", "language", "")),
    (of("x/index.md"), "a.md", "[[x/]]", ("x/index.md", "exact", "")),
    (of("x/README.md"), "a.md", "[t](x/)", ("x/README.md", "exact", "")),
    (of("x.md", "x/index.md"), "a.md", "[[x]]", ("x.md", "exact", "")),
    (of("x/y/index.md", "x/y/README.md"), "a.md", "[[y]]", ("x/y/index.md", "language", "")),
    (of("y/index.md", "y/README.md"), "a.md", "[t](y)", ("y/index.md", "exact", "")),
    (of("B.MD"), "a.md", "[[B]]", ("B.MD", "exact", "")),
    (of("d e.md"), "a.md", "[[d\u00a0e]]", ("d e.md", "unicode", "")),
    (of("b.md"), "a.md", "[[\u200bb\ufeff]]", ("b.md", "unicode", "")),
    (of("x/f.pdf"), "a.md", "![[f.pdf#page=3]]", ("x/f.pdf", "language", "page=3")),
    (of("c.canvas"), "a.md", "![[c.canvas]]", ("c.canvas", "exact", "")),
    (of("v.1.md"), "a.md", "[[v.1]]", ("v.1.md", "exact", "")),
    (of("50%.md"), "a.md", "[t](50%25.md)", ("50%.md", "exact", "")),
    # nothing
    (of("b.md"), "a.md", "[[c]]", "name"),
    (of("b.md"), "a.md", "[[../../etc/passwd]]", "outside"),
    (of("b.md"), "x/a.md", "[t](../../b.md)", "outside"),
    (of("b.md"), "x/a.md", "[[/../b]]", "outside"),
    (of("b.md"), "a.md", "[t](https://e.org)", "https://e.org"),
    (of("b.md"), "a.md", "[t](mailto:a@e.org)", "mailto:a@e.org"),
    (of("b.md"), "a.md", "[t]()", "empty"),
    # fragments
    ({"b.md": "# H"}, "a.md", "[[b#H]]", ("b.md", "exact", "h")),
    ({"b.md": "# Длинный заголовок"}, "a.md", "[[b#Длинный заголовок]]", "длинный-заголовок"),
    ({"b.md": "# H {#id}"}, "a.md", "[[b#id]]", ("b.md", "exact", "id")),
    ({"b.md": "# H {#id}"}, "a.md", "[[b#H]]", ("b.md", "exact", "id")),
    ({"b.md": "# A\n## X\n# B\n## X"}, "a.md", "[[b#B#X]]", ("b.md", "exact", "x-1")),
    ({"b.md": "# A\n## B\n### C"}, "a.md", "[[b#A#C]]", ("b.md", "exact", "c")),
    ({"b.md": "# A\n## B"}, "a.md", "[[b#B#A]]", "heading"),
    ({"b.md": "# What: is | it"}, "a.md", "[[b#What is it]]", ("b.md", "exact", "what-is-it")),
    ({"b.md": "# Ёж"}, "a.md", "[[b#еж]]", ("b.md", "exact", "ёж")),
    ({"b.md": "# H"}, "a.md", "[[b#nope]]", "heading"),
    ({"b.md": "# H"}, "a.md", "[[b#?]]", "heading"),
    (
        {"b.md": "# One and/or two."},
        "a.md",
        "[[b#One and or two]]",
        ("b.md", "exact", "one-andor-two"),
    ),
    ({"b.md": "# Что? Да!"}, "a.md", "[[b#Что Да]]", ("b.md", "exact", "что-да")),
    ({"b.md": "# `f()` *of* ==x=="}, "a.md", "[[b#`f()` *of* ==x==]]", "f-of-x"),
    ({"b.md": "# `f()` *of* ==x=="}, "a.md", "[[b#f of x]]", "f-of-x"),
    ({"b.md": "# See [t](u.md)"}, "a.md", "[[b#See t u md]]", "see-t"),
    ({"b.md": "# C++ & more"}, "a.md", "[t](b.md#c--more)", ("b.md", "exact", "c-more")),
    ({"b.md": "# A b"}, "a.md", "[[b#A  b]]", ("b.md", "exact", "a-b")),
    ({"b.md": "text ^Blk"}, "a.md", "[[b#^blk]]", ("b.md", "exact", "^Blk")),
    ({"b.md": "![[p.png]]^pic", "p.png": ""}, "a.md", "[[b#^pic]]", ("b.md", "exact", "^pic")),
    ({"b.md": "text ^blk"}, "a.md", "[[b#^blk]]", ("b.md", "exact", "^blk")),
    ({"b.md": "text"}, "a.md", "[[b#^blk]]", "block"),
    ({"b.md": "# A b"}, "a.md", "[t](b.md#a-b)", ("b.md", "exact", "a-b")),
]


@pytest.mark.parametrize(
    ("files", "source", "link", "answer"), ROWS, ids=[f"{r[1]} {r[2]}" for r in ROWS]
)
def test_resolve(tmp_path: Path, files: Files, source: str, link: str, answer: object) -> None:
    got = answer_to(tmp_path, files, source, link)
    assert answer == got or (isinstance(got, tuple) and answer in got)


def test_symbolic_links_out_of_the_vault_are_reported_and_not_followed(tmp_path: Path) -> None:
    vault, outside = tmp_path / "vault", tmp_path / "outside"
    vault.mkdir()
    outside.mkdir()
    (outside / "secret.md").write_text("# Secret")
    (vault / "a.md").write_text("[[secret]]")
    (vault / "out").symlink_to(outside)
    (vault / "loop").symlink_to(vault)
    (vault / "gone.md").symlink_to(vault / "nothing.md")
    loaded = load_vault(vault)
    assert list(loaded.notes) == ["a.md"]
    assert sorted(f.code for f in loaded.findings) == ["F006", "F006", "F006"]


def test_notes_beside_the_languages_are_found_from_all(tmp_path: Path) -> None:
    files = {"ru/a.md": "[[shared]]", "en/a.md": "[[shared]] [[top]]", "x/shared.md": "[[a]]"}
    files["top.md"] = ""
    for path, text in {**files, "README.md": "", "LICENSE.md": ""}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    vault = load_vault(tmp_path)
    assert vault.languages == ("ru", "en")
    assert list(vault.notes) == ["en/a.md", "ru/a.md", "top.md", "x/shared.md"]
    found = [resolve(vault, n, link) for n in vault.notes.values() for link in n.links]
    targets = [getattr(answer, "target", answer) for answer in found[:3]]
    assert targets == ["x/shared.md", "top.md", "x/shared.md"]
    assert found[3] == Ambiguous(("en/a.md", "ru/a.md"), found[3].tier)  # type: ignore[union-attr]
