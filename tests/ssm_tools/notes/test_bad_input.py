"""Bad input: each gives findings with places; nothing crashes, hangs or leaves the vault."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ssm_tools.cli import main
from ssm_tools.notes import NoteId, backlinks, build_graph, check_vault, load_vault, parse_note
from ssm_tools.notes.graph_formats import FORMATS, render_graph
from ssm_tools.site.markdown import render

BYTES = [
    (b"caf\xe9 [[b]]\n", "a.md:1:4: F001"),
    (b"\xef\xbb\xbf---\ntitle: [\n---\n", "a.md:3:1: F002"),
    (b"---\r\ntitle: 'x\r\n---\r\n[[b]]", "a.md:3:1: F002"),
    (b"---\na: &a [*a]\ntitle: *a\n---\n", "a.md:1:1: F003"),
    (b"---\na: &a [1]\ntitle: *a\n---\n", "a.md:1:1: F003"),
    (b"---\ndate: 2024-13-45\n---\n", "a.md:2:1: F002"),
    (b"---\nn: " + b"9" * 9999 + b"\n---\n", "a.md:2:1: F002"),
    (b"---\na: " + b"[" * 20000 + b"\n---\n", "a.md:"),
    (b"---\na: !!python/object:os.system x\n---\n", "a.md:2:4: F002"),
    (b"---\ntext: " + b"x" * 70000 + b"\n---\n", "a.md:1:1: F003"),
    (b"---\naliases: {a: b}\n---\n", "a.md:1:1: F003"),
    (b"---\naliases: [1, [2], x]\n---\n", "a.md:1:1: F003"),
    (b"---\n{[a]: b}\n---\n", "a.md:2:"),
    (b"---\nno end", None),
    (b"---\n\x00\n---\n", "a.md:2:1: F002"),
    (b"\x00[[b]]", None),
    (b"> " * 1000 + b"[[b]]", "a.md:1:"),
    (b"", None),
    (b"\r\r\r[[b]]", None),
]


@pytest.mark.parametrize(("data", "place"), BYTES, ids=[repr(row[0][:20]) for row in BYTES])
def test_one_finding_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, place: str | None
) -> None:
    (tmp_path / "a.md").write_bytes(data)
    (tmp_path / "b.md").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    found = [str(f) for f in check_vault(load_vault(Path("."))) if f.severity != "hint"]
    if place is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(place)


LONG = {
    "brackets": lambda n: "[" * n,
    "closed brackets": lambda n: "[" * n + "]" * n,
    "double brackets": lambda n: "[[a" * n,
    "bangs": lambda n: "![" * n,
    "destinations": lambda n: "[" * n + "](x)" * n,
    "links": lambda n: "[[a|b]] " * n,
    "dollars": lambda n: "$a " * n + "$$ " * n,
    "escaped dollars": lambda n: "$" + "\\$" * n,
    "backticks": lambda n: "`" * n + " " + "``` " * n,
    "comments": lambda n: "[[x]]" + "<!-- " * n + "%% a " * n,
    "code tags": lambda n: "[[a]]<code>" * n,
    "heading blanks": lambda n: "# a" + " " * n + "b",
    "heading links": lambda n: "# " + "[[a" * n,
    "heading ids": lambda n: "# " + "{#a " * n,
    "carets": lambda n: "a" + " ^" * n + " b",
    "displayed maths": lambda n: "x\n\n$$\n\n" * (n // 4),
    "quotes": lambda n: "> [[a]]\n" * (n // 2),
    "table": lambda n: "|a|b|\n|-|-|\n" + "|[[a\\|b]]|c|\n" * (n // 8),
    "same headings": lambda n: "# a\n" * (n // 4),
    "admonitions": lambda n: "".join(f"{' ' * (4 * i)}!!! a\n" for i in range(n // 40)),
    "tabs": lambda n: '=== "[[a]]"\n\n    [[b]]\n\n' * (n // 16),
    "definitions": lambda n: "[[a]]\n: b\n" * (n // 8),
    "properties": lambda n: "---\na:\n" + "- '[[a]]'\n" * min(n // 4, 6000) + "---\n",
    "unclosed comments": lambda n: "%% [[a]] b\n" * (n // 8) + "> %% c\n\n" * (n // 8),
    "formulas that go on": lambda n: "$$ a\n$$ b [[c]]\n" * (n // 8),
    "spans": lambda n: "<b [[a]]" * (n // 4) + "<a title='" * (n // 4),
    "escapes": lambda n: "\\[[a]]" * n,
    "references": lambda n: "[a]: b\n\n" + "[a] " * (n // 4) + "[" * n,
    "tasks": lambda n: "- [ ] a\n" * (n // 4),
}


def parse(text: str) -> None:
    parse_note(text.encode(), NoteId("a.md"), "", Path("a.md"))


def show(text: str) -> None:
    render(text.partition("---\n")[2].partition("---\n")[2] if text.startswith("---") else text)


@pytest.mark.parametrize("action", [parse, show])
@pytest.mark.parametrize("name", LONG)
def test_time_is_linear(name: str, action: Callable[[str], None]) -> None:
    def seconds(count: int) -> float:
        text = LONG[name](count)
        start = time.process_time()
        action(text)
        return time.process_time() - start

    def best(count: int) -> float:  # a busy machine and a collection only add time
        return min(seconds(count) for _ in range(2))

    assert best(16000) < 8 * 3 * best(2000) + 0.2


VAULTS = {
    "headings": lambda n: "".join(f"# h{i}\n" for i in range(n)) + f"[[#h{n - 1}]] " * n,
    "blocks": lambda n: "".join(f"t ^b{i}\n\n" for i in range(n)) + f"[[#^b{n - 1}]] " * n,
    "broken headings": lambda n: "# h\n" * n + "[[#nothing]] " * n,
    "broken links": lambda n: "".join(f"[[nothing{i}]] " for i in range(n)),
    "embeds": lambda n: "".join(f"# h{i}\n![[#h{i + 1}]]\n" for i in range(n)),
    "same headings": lambda n: "# h\n" * n + "[[#h]] " * n,
    "same links": lambda n: "[[a]] " * n,
}


@pytest.mark.parametrize("name", VAULTS)
def test_time_of_a_check_is_linear(tmp_path: Path, name: str) -> None:
    def seconds(count: int) -> float:
        for language in ("en", "ru"):
            (tmp_path / language).mkdir(exist_ok=True)
            (tmp_path / language / "a.md").write_text(VAULTS[name](count), encoding="utf-8")
        vault = load_vault(tmp_path)
        start = time.process_time()
        check_vault(vault)
        return time.process_time() - start

    assert min(seconds(1200) for _ in range(2)) < 8 * 3 * seconds(150) + 0.2


def test_a_large_note_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.md", "wb") as file:
        file.truncate(50 * 2**20)
    (finding,) = [f for f in check_vault(load_vault(tmp_path)) if f.severity != "hint"]
    assert finding.code == "F005"


def test_ten_thousand_links_on_a_line_have_sentences(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("One. Two [[b]]! " * 10_000)
    (tmp_path / "b.md").write_text("")
    start = time.process_time()
    found = backlinks(load_vault(tmp_path))[NoteId("b.md")]
    assert len(found) == 10_000
    assert found[5].sentence == "Two b!"
    assert time.process_time() - start < 20


def test_names_of_any_kind(tmp_path: Path) -> None:
    names = ['q"uote', "a'b", "эмодзи 🐍", "rtl\u202etxt", "a&b<script>", "{{x}}", "ё\u0301", "-"]
    for name in names:
        (tmp_path / f"{name}.md").write_text("\n".join(f"- [[{other}]]" for other in names))
    vault = load_vault(tmp_path)
    assert [str(f) for f in check_vault(vault) if f.severity != "hint"] == []
    graph = build_graph(vault)
    for form in FORMATS:
        text = render_graph(graph, form)
        assert "<script>" not in text or form in ("json", "dot")


def test_a_file_that_vanishes_or_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("x")
    (tmp_path / "b.md").symlink_to(tmp_path / "gone.md")
    os.mkdir(tmp_path / "c.md")
    vault = load_vault(tmp_path)
    assert list(vault.notes) == ["a.md"]
    assert [f.code for f in vault.findings] == ["F006"]


def test_no_vault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["check"], ["graph"], ["stats"], ["rename", "a", "b"]):
        assert main([*command, "--vault", str(tmp_path / "none")]) == 2
        assert "not a folder" in capsys.readouterr().err
    assert main(["check", "--vault", str(tmp_path)]) == 0
