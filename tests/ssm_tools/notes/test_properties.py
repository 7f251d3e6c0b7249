"""Properties of parsing on made-up Markdown: places are true, text is kept, code is no link."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ssm_tools.notes import Note, NoteId, parse_note, rewrite

PIECES = [
    *("`", "``", "```\n", "~~~\n", "\n", "\n\n", "- ", "> ", "    ", "\t", "* ", "1. ", "# "),
    *("<b>", "</b>", "<!--", "-->", "<div>\n", "<a href='", "'>", "\\", "*", "_", "&amp;", "text "),
    *("| ", "|\n|-|-|\n", "\\|", "[", "]", "\r\n", "ё", "\u0438\u0306", "---\n"),
]
MATHS = ["$", "$$", "$$\n", "\\(", "\\)", "\\[", "\\]", "%%", "%%\n", "<code>", "</code>"]
BLOCKS = [
    "[r]: x\n",
    "!!! note\n",
    "[^1]: ",
    "^id",
    "{#id}",
    "![[",
    "[[",
    "]]",
    "[t](a.md)",
    "![i](p.png)",
]
LINK = "[[#]]"


def made(pieces: list[str]) -> st.SearchStrategy[str]:
    """Texts of the pieces in which each link has a name of its own."""
    lists = st.lists(st.sampled_from([*pieces, LINK, LINK, LINK]), max_size=24)
    return lists.map(numbered)


def numbered(parts: list[str]) -> str:
    return "".join(f"[[a{i}]]" if part == LINK else part for i, part in enumerate(parts))


def parsed(text: str) -> Note:
    return parse_note(text.encode("utf-8", "replace"), NoteId("a.md"), "", Path("a.md"))


PLAIN = MarkdownIt("commonmark").enable("table").disable("text_join")
PLAIN.options["maxNesting"] = 100


def plain_text_of(text: str) -> str:
    """What markdown-it itself takes for text, pieces of it apart."""
    tokens = [child for token in PLAIN.parse(text) for child in token.children or []]
    return "\0".join(token.content for token in tokens if token.type == "text")


@settings(max_examples=150, deadline=None)
@given(made(PIECES))
def test_what_is_code_or_html_agrees_with_markdown_it(text: str) -> None:
    links = parsed("\n" + text).links
    ours = {link.path for link in links if re.fullmatch(r"a\d+", link.path)}
    theirs = set(re.findall(r"\[\[(a\d+)\]\]", plain_text_of("\n" + text)))
    assert ours == theirs


@settings(max_examples=150, deadline=None)
@given(made([*PIECES, *MATHS, *BLOCKS]))
def test_places_are_true(text: str) -> None:
    note = parsed(text)
    assert note.text == text
    for link in note.links:
        raw = note.text[link.start : link.end]
        assert raw.startswith(("[", "!["))
        assert raw.endswith((")", "]"))
        assert (link.line, link.column) == note.place(link.start)
        if link.kind in ("wiki", "embed"):
            assert link.path in note.text[link.target_start : link.target_end].replace("\\", "/")
    for heading in note.headings:
        assert (heading.line, heading.column) == note.place(heading.start)
        assert heading.start <= heading.end <= heading.section_end
    for block in note.blocks:
        assert note.text[block.mark_start : block.mark_end] == f"^{block.id}"
    assert len({heading.id for heading in note.headings if not heading.explicit}) == len(
        [heading for heading in note.headings if not heading.explicit]
    )


@settings(max_examples=100, deadline=None)
@given(made([*PIECES, *MATHS, *BLOCKS]))
def test_an_untouched_note_is_the_same_bytes(text: str) -> None:
    note = parsed(text)
    same = [(link.start, link.end, note.text[link.start : link.end]) for link in note.links]
    apart = [e for i, e in enumerate(same) if not any(o[1] > e[0] for o in same[:i])]
    assert rewrite(note.text, apart).encode() == text.encode()


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200), st.binary(max_size=60))
def test_nothing_raises(text: str, data: bytes) -> None:
    parsed(text)
    parse_note(b"---\n" + data + b"\n---\n" + data, NoteId("a.md"), "", Path("a.md"))
