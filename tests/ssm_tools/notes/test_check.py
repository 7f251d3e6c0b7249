"""What `check` says: each row is a vault and its findings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssm_tools.cli import main
from ssm_tools.notes import check_vault, expand_embeds, load_vault
from ssm_tools.notes.codes import CODES
from ssm_tools.notes.model import NoteId

KIN = "---\npermalink: one\n---\n# A\n\n## B\n"
KIN2 = "---\npermalink: two\n---\n"
ROWS = [
    ({"a.md": "x [[b]]"}, ["a.md:1:3: L001"]),
    ({"a.md": "[[b]]", "x/b.md": "", "y/b.md": ""}, ["a.md:1:1: L002"]),
    ({"a.md": "[[b#h]]", "b.md": "# g"}, ["a.md:1:1: L003"]),
    ({"a.md": "[[b#^h]]", "b.md": "# g"}, ["a.md:1:1: L004"]),
    ({"a.md": "[[../b]]"}, ["a.md:1:1: L005"]),
    ({"a.md": "[x](javascript:alert(1))"}, ["a.md:1:1: L006"]),
    ({"a.md": "![x](data:text/html,x)"}, ["a.md:1:1: L006"]),
    ({"a.md": "[x](JaVa&#115;cript:alert)"}, ["a.md:1:1: L006"]),
    ({"a.md": "[[B]]", "b.md": ""}, ["a.md:1:1: L007"]),
    ({"a.md": "[[S6]]", "b.md": "---\naliases: [S6]\n---\n"}, ["a.md:1:1: L008"]),
    ({"a.md": "[[]] [[|x]]"}, ["a.md:1:6: L010"]),
    ({"a.md": "[[b#HEAD]]", "b.md": "# Head"}, ["a.md:1:1: L011"]),
    ({"a.md": "[[b#X y]]", "b.md": "# X y\n# X y"}, ["a.md:1:1: L012"]),
    ({"a.md": "|a|b|\n|-|-|\n|[[b|c]]|d|", "b.md": ""}, ["a.md:3:5: L013"]),
    ({"a.md": "![[b]]", "b.md": "![[a]]"}, ["b.md:1:1: L014"]),
    ({"a.md": "# H\n![[#H]]"}, ["a.md:2:1: L014"]),
    ({"a.md": "# H\n![[#G]]\n# G"}, []),
    ({"a.md": "x ^i\n\ny ^i"}, ["a.md:3:3: H001"]),
    ({"a.md": "# A {#i}\n# B {#i}"}, ["a.md:2:7: H002"]),
    ({"ru/a.md": "", "en/a.md": "", "en/b.md": ""}, ["en/b.md:1:1: T001"]),
    (
        {"ru/a.md": "## A {#a}\n", "en/a.md": "## B {#b}\n"},
        ["en/a.md:1:4: T002", "ru/a.md:1:4: T002"],
    ),
    ({"ru/a.md": "## A {#a}\n## В", "en/a.md": "## A {#a}"}, ["ru/a.md:2:4: H003"]),
    ({"ru/a.md": "[[b]]", "en/a.md": "", "ru/b.md": "", "en/b.md": ""}, ["ru/a.md:1:1: T003"]),
    (
        {"ru/a.md": "[[b]]", "en/a.md": "", "ru/b.md": "", "en/c.md": ""},
        ["en/c.md:1:1: T001", "ru/b.md:1:1: T001"],
    ),
    (
        {"en/a.md": "[[b]]", "ru/a.md": "", "ru/b.md": ""},
        ["en/a.md:1:1: L009", "en/a.md:1:1: T003", "ru/b.md:1:1: T001"],
    ),
    ({"a.md": "---\nx: [1\n---\n"}, ["a.md:3:1: F002"]),
    ({"a.md": "---\n- x\n---\n"}, ["a.md:2:1: F003"]),
    ({"a.md": "---\ntitle: [x]\n---\n"}, ["a.md:1:1: F003"]),
    ({"a.md": "", "A.md": ""}, ["a.md:1:1: F007"]),
    ({"a.md": "---\naliases: [x]\n---\n", "b.md": "---\naliases: [X]\n---\n"}, ["b.md:1:1: F010"]),
    ({"a.md": "[[requires::b]]", "b.md": "[[requires::a]]"}, ["b.md:1:1: G003"]),
    ({"a.md": "[[b]] [t](b.md) [u](https://e.org) ![[i.png]]", "b.md": "", "i.png": ""}, []),
    ({"a.md": "[[b#Is it so]]", "b.md": "# Is it so?"}, []),
    ({"a.md": "---\nup: '[[c]]'\n---\n"}, ["a.md:2:6: L001"]),
    ({"ru/а.md": KIN, "en/a.md": KIN}, []),
    ({"ru/а.md": KIN, "en/a.md": KIN + "## C\n"}, ["en/a.md:7:4: T002"]),
    (
        {"ru/а.md": KIN, "en/a.md": KIN + "[[b]]", "ru/б.md": KIN2, "en/b.md": KIN2},
        ["en/a.md:7:1: T003"],
    ),
    (
        {"ru/а.md": KIN, "en/a.md": KIN, "en/b.md": KIN},
        [f"{name}:1:1: T001" for name in ("en/a.md", "en/b.md", "ru/а.md")],
    ),
]


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8", newline="")


@pytest.mark.parametrize(("files", "expected"), ROWS, ids=[str(row[1]) for row in ROWS])
def test_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: list[str]
) -> None:
    write(tmp_path, files)
    monkeypatch.chdir(tmp_path)
    found = [f for f in check_vault(load_vault(Path("."))) if f.severity != "hint"]
    assert [f"{f.path}:{f.line}:{f.column}: {f.code}" for f in found] == expected
    assert {f.code for f in found} <= set(CODES)
    assert all(f.severity == CODES[f.code].severity for f in found)


MEANT = [
    ("[[mmaba]]", "mamba"),
    ("[[ьфьиф]]", "mamba"),
    ("[[мамба]]", "mamba"),
    ("[[cdthnrf]]", "свертка"),
    ("[[Selective SSM2]]", "mamba"),
    ("[[mamba#Wyh]]", "#why"),
    ("[[mamba#^blok]]", "^block"),
    ("![[pciture.png]]", "picture.png"),
    ("[[mam%62a]]", "mamba"),
    ("[[mаmbа]]", "mamba"),
    ("[[https://e.org]]", "[text](https://e.org)"),
    ("[t](www.e.org)", "https://www.e.org"),
]


@pytest.mark.parametrize(("link", "suggestion"), MEANT, ids=[row[0] for row in MEANT])
def test_did_you_mean(tmp_path: Path, link: str, suggestion: str) -> None:
    mamba = "---\naliases: [Selective SSM]\n---\n## Why {#why}\n\ntext ^block\n"
    files = {"x/mamba.md": mamba, "свертка.md": "", "picture.png": "", "a.md": link}
    write(tmp_path, files)
    hints = [
        f.hint for f in check_vault(load_vault(tmp_path)) if f.code in ("L001", "L003", "L004")
    ]
    assert len(hints) == 1
    assert suggestion in hints[0]


FIXED = [
    ("[[B]]", "[[b]]"),
    ("[[B#H|t]]", "[[b#H|t]]"),
    ("[[B.md]]", "[[b.md]]"),
    ("[[alias one]]", "[[b|alias one]]"),
    ("[[alias one|t]]", "[[b|t]]"),
    ("[[b#h]]", "[[b#h]]"),
    ("[[b#second HEAD]]", "[[b#Second head]]"),
    ("|x|\n|-|\n|[[alias one]]|", "|x|\n|-|\n|[[b\\|alias one]]|"),
    ("[[b|x]] [[alias one]] [[b|y]]", "[[b|x]] [[b|alias one]] [[b|y]]"),
    ("|a|b|\n|-|-|\n|[[b|B]]|[[b|C]]|", "|a|b|\n|-|-|\n|[[b\\|B]]|[[b\\|C]]|"),
    ("x|y\n-|-\n[[alias one]]|z", "x|y\n-|-\n[[b\\|alias one]]|z"),
    ("|x|y|\n|-|-|\n|[[b|c]]|d|", "|x|y|\n|-|-|\n|[[b\\|c]]|d|"),
    ("`[[B]]` [[B]]\r\n[[B]]", "`[[B]]` [[b]]\r\n[[b]]"),
]


@pytest.mark.parametrize(("text", "fixed"), FIXED, ids=[row[0] for row in FIXED])
def test_fix(tmp_path: Path, text: str, fixed: str) -> None:
    write(tmp_path, {"a.md": text, "b.md": "---\naliases: [alias one]\n---\n# H\n# Second head"})
    main(["check", "--fix", "--vault", str(tmp_path)])
    assert (tmp_path / "a.md").read_bytes().decode() == fixed
    assert main(["check", "--vault", str(tmp_path)]) == 0


HEADING_OF_THE_OTHER = [
    ("[[б#Two]]", "#два"),  # written as in the other language
    ("[[б#Вдвоём]]", "#два"),  # what the same link of the translation means
]


@pytest.mark.parametrize(("link", "meant"), HEADING_OF_THE_OTHER, ids=["name", "place"])
def test_a_heading_is_looked_for_in_the_translation(tmp_path: Path, link: str, meant: str) -> None:
    files = {
        "ru/а.md": KIN + link,
        "en/a.md": KIN + "[[b#Two]]",
        "ru/б.md": KIN2 + "# Раз\n## Два\n",
        "en/b.md": KIN2 + "# One\n## Two\n",
    }
    write(tmp_path, files)
    (finding,) = [f for f in check_vault(load_vault(tmp_path)) if f.severity != "hint"]
    assert (finding.code, meant in finding.hint) == ("L003", True)


def test_formats_and_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"docs/a.md": "see [[nothing%, here]]", "docs/b.md": "[[a]]"})
    monkeypatch.chdir(tmp_path)
    assert main(["check"]) == 1
    text = capsys.readouterr().out.splitlines()
    assert text[0] == "docs/a.md:1:5: L001 no note or file 'nothing%, here'"
    assert text[1:3] == ["    see [[nothing%, here]]", "        " + "^" * 18]
    assert main(["check", "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert [(link["raw"], link["state"]) for link in data["links"]] == [
        ("[[nothing%, here]]", "missing"),
        ("[[a]]", "found"),
    ]
    assert main(["check", "--format", "sarif"]) == 1
    sarif = json.loads(capsys.readouterr().out)
    assert sarif["runs"][0]["results"][0]["ruleId"] == "L001"
    assert main(["check", "--format", "github"]) == 1
    assert capsys.readouterr().out.startswith("::error file=docs/a.md,line=1,col=5,title=L001::")
    assert main(["check", "--vault", "nowhere"]) == 2


def test_names_without_a_link_are_hinted_at(tmp_path: Path) -> None:
    text = "# About Mamba\n\nMamba, `Mamba`, $Mamba$, [[b|Mamba]] and State Space.\n"
    write(
        tmp_path,
        {"a.md": text, "b.md": "", "c.md": "---\ntitle: State space\n---\n", "m.md": "# Mamba"},
    )
    found = [f for f in check_vault(load_vault(tmp_path), mentions=True) if f.code == "G004"]
    assert [(f.line, f.column) for f in found] == [(3, 1), (3, 42)]
    assert [f.fix.text for f in found if f.fix] == ["[[m|Mamba]]", "[[c|State Space]]"]


EMBEDS = [
    ({"a.md": "x\n\n![[b]]\n\ny", "b.md": "---\ntitle: t\n---\n# B\n\nb"}, "x\n\n# B\n\nb\n\ny"),
    ({"a.md": "![[b#S]]", "b.md": "# B\n## S {#s}\n\ns ^i\n\n# C"}, "## S\n\ns"),
    ({"a.md": "![[b#^i]]", "b.md": "x\n\ny [[c]] ^i\n\nz", "c.md": ""}, "y [[/c|c]]"),
    ({"a.md": "- ![[b]]", "b.md": "p\n\nq"}, "- p\n  \n  q"),
    ({"a.md": "t ![[b]] u", "b.md": "one line"}, "t one line u"),
    ({"a.md": "![[b]]", "b.md": "![[c]]", "c.md": "deep"}, "deep"),
    ({"a.md": "![[b]]", "b.md": "b ![[a]]"}, "b [[/a|a]]"),
    ({"a.md": "![[a]]"}, "[[/a|a]]"),
    ({"a.md": "![[i.png|20]]", "i.png": ""}, "![[i.png|20]]"),
]


@pytest.mark.parametrize(("files", "expanded"), EMBEDS, ids=[row[1] for row in EMBEDS])
def test_expand_embeds(tmp_path: Path, files: dict[str, str], expanded: str) -> None:
    write(tmp_path, files)
    vault = load_vault(tmp_path)
    assert expand_embeds(vault, vault.notes[NoteId("a.md")]).rstrip() == expanded


def test_embeds_that_multiply_stop_at_the_limit(tmp_path: Path) -> None:
    files = {f"n{i}.md": f"![[n{i + 1}]]\n\n![[n{i + 1}]]" for i in range(40)}
    write(tmp_path, {**files, "n40.md": "x" * 100})
    vault = load_vault(tmp_path)
    assert len(expand_embeds(vault, vault.notes[NoteId("n0.md")])) < 2**24
