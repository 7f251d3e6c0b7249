"""What is a link and what is not: rows of Markdown and the links in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssm_tools.notes import Note, NoteId, parse_note


def parsed(text: str) -> Note:
    return parse_note(text.encode(), NoteId("a.md"), "", Path("a.md"))


def written(text: str) -> list[str]:
    note = parsed(text)
    return [note.text[link.start : link.end] for link in note.links]


LINKS = [
    ("[[a]]", ["[[a]]"]),
    ("[[a.md]] and [[b|text]]", ["[[a.md]]", "[[b|text]]"]),
    ("x[[a]]y[[b]]z", ["[[a]]", "[[b]]"]),
    ("**[[a]]** _[[b]]_ ~~[[c]]~~", ["[[a]]", "[[b]]", "[[c]]"]),
    ("# [[a]] {#x}", ["[[a]]"]),
    ("[[a]]\n===", ["[[a]]"]),
    ("- [[a]]\n  - [[b]]\n    text [[c]]", ["[[a]]", "[[b]]", "[[c]]"]),
    ("1. [ ] [[a]]", ["[[a]]"]),
    ("> [[a]]\n> > [[b]]\nlazy [[c]]", ["[[a]]", "[[b]]", "[[c]]"]),
    ("> [!note] Title [[a]]\n> [[b]]", ["[[a]]", "[[b]]"]),
    ('!!! note "About [[a]]"\n    [[b]]\n\n    [[c]]', ["[[a]]", "[[b]]", "[[c]]"]),
    ("??? tip\n    [[b]]", ["[[b]]"]),
    ("[^1]: [[a]]\n\n    [[b]]", ["[[a]]", "[[b]]"]),
    ("text[^1]\n\n[^1]: see [x](b.md)", ["[x](b.md)"]),
    ("| [[a\\|b]] | x |\n|---|---|\n| [[c]] | [[d\\|e]] |", ["[[a\\|b]]", "[[c]]", "[[d\\|e]]"]),
    ("> | a | b |\n> |---|---|\n> | [[a]] | [[b\\|c]] |", ["[[a]]", "[[b\\|c]]"]),
    ("[[a#h]] [[a#h1#h2]] [[#here]] [[a#^b]]", ["[[a#h]]", "[[a#h1#h2]]", "[[#here]]", "[[a#^b]]"]),
    ("![[a]] ![[a#h]] ![[i.png|200]]", ["![[a]]", "![[a#h]]", "![[i.png|200]]"]),
    ("[t](a.md) ![i](b.png) [u](<a b.md>)", ["[t](a.md)", "![i](b.png)", "[u](<a b.md>)"]),
    ("[t][r] [r]\n\n[r]: a.md", ["[t][r]", "[r]"]),
    ("[![i](b.png)](a.md)", ["[![i](b.png)](a.md)", "![i](b.png)"]),
    ("[[[a]]]", ["[[a]]"]),
    ("[[a [[b]]", ["[[b]]"]),
    ("<b>[[a]]</b>", ["[[a]]"]),
    ("costs $5 [[a]] and $6", ["[[a]]"]),
    ("$ [[a]] $", ["[[a]]"]),
    ("100% [[a]] 50%", ["[[a]]"]),
    ("[[a]](b)", ["[[a]]"]),
    ("[[имя заметки|текст]]", ["[[имя заметки|текст]]"]),
    ("[[folder\\note]]", ["[[folder\\note]]"]),
    ("\\\\[[a]]", ["[[a]]"]),
    ("[[a]]\r\n[[b]]\r\n", ["[[a]]", "[[b]]"]),
    ("\ufeff---\ntitle: x\n---\n[[a]]", ["[[a]]"]),
    ("text\n    [[a]]", ["[[a]]"]),
    ("- x\n\n    [[a]]", ["[[a]]"]),
    ('=== "Tab"\n\n    [[a]]\n\n    ??? tip\n        [[b]]\n\n[[c]]', ["[[a]]", "[[b]]", "[[c]]"]),
    ("- x\n\n    !!! note\n        [[a]]\n\n        [[b]]", ["[[a]]", "[[b]]"]),
    ("Term\n: about [[a]]\n\n    more [[b]]", ["[[a]]", "[[b]]"]),
    ("$$x$$ and [[a]]\n\n$$\ny\n$$ [[b]]", ["[[a]]", "[[b]]"]),
    ("%% [[x]]\n[[y]]\n%% [[a]]", ["[[a]]"]),
    ("> $$ open\n\n$$\n[[x]]\n$$\n[[a]]", ["[[a]]"]),
    ("text^[inline [[a]] note]", ["[[a]]"]),
    ("[t](<a b.md#h i>) [u](c.md 'x')", ["[t](<a b.md#h i>)", "[u](c.md 'x')"]),
    ("[[a]]{.cls} [[b|**x** `y`]]", ["[[a]]", "[[b|**x** `y`]]"]),
    ("==[[a]]== ==![[b]]==", ["[[a]]", "![[b]]"]),
    ("<details><summary>x</summary>\n\n[[a]]\n\n</details>", ["[[a]]"]),
    ("#tag/[[a]]", ["[[a]]"]),
    ("key:: [[a]] (key:: [[b]])", ["[[a]]", "[[b]]"]),
    ("---\nup: '[[a]]'\n---\ntext", ["[[a]]"]),
    (
        '---\nup: ["[[a|A]]", "[[b#h]]"]\nx:\n  - "[[c]]" # why\n---\n',
        ["[[a|A]]", "[[b#h]]", "[[c]]"],
    ),
]
NO_LINKS = [
    "`[[a]]`",
    "``[[a]] ` ``",
    "```\n[[a]]\n```",
    "~~~md\n[[a]]",
    "- x\n\n  ```\n  [[a]]\n  ```",
    '!!! note "x"\n    ```\n    [[a]]\n\n    [[b]]\n    ```',
    "$[[a]]$",
    "$x_{[[a]]}$",
    "$$[[a]]$$",
    "$$\n[[a]]\n\n- [[b]]\n$$",
    "text\n$$\n[[a]]\n$$",
    "\\([[a]]\\)",
    "\\[ [[a]] \\]",
    "<!-- [[a]] -->",
    "text <!-- [[a]]\n[[b]] --> text",
    "<!--\n\n[[a]]\n\n-->",
    "<div>\n[[a]]\n</div>",
    '<span title="[[a]]">x</span>',
    "<code>[[a]]</code>",
    "<pre>\n[[a]]\n\n[[b]]\n</pre>",
    "%% [[a]] %%",
    "text %%[[a]]%% text",
    "%%\n[[a]]\n\n[[b]]\n%%",
    "\\[[a]]",
    "\\[\\[a\\]\\]",
    "[\\[a]]",
    "[[]] [[ ]] [[a] b]",
    "[[a\nb]]",
    "[x]",
    "---\nrelated: [[a]]\n# up: '[[b]]'\ntext: 'see [[c]]'\n---\ntext",
    "---\nup: '[[@key]]'\nx: '[[claim:a/b]]'\ny: '[[ ]]'\n---\n",
    "    [[a]]",
    "text\n\n    [[a]]",
    "- x\n\n        [[a]]",
    "!!! note\n    text\n\n        [[a]]",
    "```dataview\nLIST FROM [[a]]\n```",
    "$x = [[1, 2], [3, 4]]$",
    "$`[[a]]`$",
    "[[@gu2023mamba]] [[claim:a/b]]",
    "<https://example.org/[[a]]>",
    "| `[[a]]` |\n|---|\n| $[[b]]$ |",
]


@pytest.mark.parametrize(("text", "links"), LINKS, ids=[repr(row[0]) for row in LINKS])
def test_links(text: str, links: list[str]) -> None:
    assert written(text) == links


@pytest.mark.parametrize("text", NO_LINKS, ids=repr)
def test_no_links_inside_code_maths_html_and_comments(text: str) -> None:
    assert written(text) == []


@pytest.mark.parametrize(("text", "_"), LINKS, ids=[repr(row[0]) for row in LINKS])
def test_line_and_column_are_those_of_the_offset(text: str, _: list[str]) -> None:
    note = parsed(text)
    for link in note.links:
        assert (link.line, link.column) == note.place(link.start)
        assert link.context_start <= link.start < link.end <= link.context_end
        target = note.text[link.target_start : link.target_end]
        assert target.split("#")[0].replace("\\", "/").strip() == link.path


PARTS = [
    ("[[a]]", ("a", (), None, "")),
    ("[[ a | b c ]]", ("a", (), "b c", "")),
    ("[[a.md#h]]", ("a.md", ("h",), None, "")),
    ("[[a#h1#h2|t]]", ("a", ("h1", "h2"), "t", "")),
    ("[[#^blk]]", ("", ("^blk",), None, "")),
    ("[[contrast::s4d|S4D]]", ("s4d", (), "S4D", "contrast")),
    ("[[a\\|b]]", ("a", (), "b", "")),
    ("[[x\\y]]", ("x/y", (), None, "")),
    ("[t](a%20b.md#h%20i)", ("a b.md", ("h i",), "t", "")),
    ("[t](<a b.md>)", ("a b.md", (), "t", "")),
    ("[t](https://x.org/a#b)", ("https://x.org/a#b", (), "t", "")),
    ("![[i.png|100x200]]", ("i.png", (), "100x200", "")),
]


@pytest.mark.parametrize(("text", "parts"), PARTS, ids=[row[0] for row in PARTS])
def test_parts_of_a_link(text: str, parts: tuple[object, ...]) -> None:
    (link,) = parsed(text).links
    assert (link.path, link.fragment, link.text, link.relation) == parts


HEADINGS = [
    ("# Заголовок", [("Заголовок", "заголовок")]),
    ("## Зачем {#why}", [("Зачем", "why")]),
    ("## A **b** `c` $d$", [("A b c $d$", "a-b-c-d")]),
    ("## A\n## A\n## A", [("A", "a"), ("A", "a-1"), ("A", "a-2")]),
    ("## [[x|Имя]] и [y](z.md)", [("Имя и y", "имя-и-y")]),
    ("Setext\n---", [("Setext", "setext")]),
    ("> ## In a quote ##", [("In a quote", "in-a-quote")]),
    ("## Ёж и Й", [("Ёж и Й", "ёж-и-й")]),
    ("##", [("", "section")]),
    ("## C# and F#", [("C# and F#", "c-and-f")]),
    ("```\n# no\n```", []),
]


@pytest.mark.parametrize(("text", "headings"), HEADINGS, ids=[row[0] for row in HEADINGS])
def test_headings(text: str, headings: list[tuple[str, str]]) -> None:
    note = parsed(text)
    assert [(h.text, h.id) for h in note.headings] == headings
    for heading in note.headings:
        assert (heading.line, heading.column) == note.place(heading.start)


BLOCKS = [
    ("text ^one", [("one", "text ^one")]),
    ("a\nb ^one\n\nc", [("one", "a\nb ^one")]),
    ("- a\n- b ^two\n- c", [("two", "- b ^two")]),
    ("> quote\n\n^q", [("q", "> quote\n\n^q")]),
    ("|a|\n|-|\n|b|\n\n^tab", [("tab", "|a|\n|-|\n|b|\n\n^tab")]),
    ("`code ^no`", []),
    ("x^2", []),
    ("$x ^2$", []),
    ("# H ^hh", [("hh", "# H ^hh")]),
    ("![[a]]^pic", [("pic", "![[a]]^pic")]),
    ("$$x$$ ^eq", [("eq", "$$x$$ ^eq")]),
    ("$$\nx\n$$ ^eq", [("eq", "$$\nx\n$$ ^eq")]),
    ("```\nc\n```\n^code", [("code", "```\nc\n```\n^code")]),
    ("> [!note]\n> x\n\n^call", [("call", "> [!note]\n> x\n\n^call")]),
    ("- a\n  - b ^in", [("in", "  - b ^in")]),
    ("f(x)^2", []),
]


@pytest.mark.parametrize(("text", "blocks"), BLOCKS, ids=[row[0] for row in BLOCKS])
def test_block_ids(text: str, blocks: list[tuple[str, str]]) -> None:
    note = parsed(text)
    assert [(b.id, note.text[b.start : b.end]) for b in note.blocks] == blocks


def test_other_records() -> None:
    note = parsed(
        "[[@gu2023mamba|Gu]] [[claim:c/d]]\n\n```snippet mamba/block\n```\n\n$$\nx \\tag{1}\n$$\n"
    )
    assert [(c.key, c.text) for c in note.citations] == [("gu2023mamba", "Gu")]
    assert [(c.concept, c.claim) for c in note.claims] == [("c", "d")]
    assert [fence.info for fence in note.fences] == ["snippet mamba/block"]
    assert [equation.tag for equation in note.equations] == ["1"]
    assert note.text[note.equations[0].start : note.equations[0].end].startswith("$$")
