"""The graph: typed edges with places, ghosts, figures, backlinks with their sentences."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ssm_tools.cli import main
from ssm_tools.notes import NoteId, backlinks, build_graph, load_vault

FILES = {
    "ru/a.md": "# А\n\n## Связи {#ties}\n\nПервое. См. [[contrast::b|Б]], напр. тут. Третье!\n",
    "ru/b.md": "# Б\n\n![[a]] [[ghost]] ![[p.png]]\n",
    "en/a.md": "One e.g. two **[[b]]** and `code`; see [x](b.md). Two [[ru/b]].\n",
    "en/b.md": "- item [[a#none]] text\n- other\n\n| c | [[a]] |\n|---|---|\n",
    "p.png": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def test_edges(root: Path) -> None:
    graph = build_graph(load_vault(root))
    edges = {(a, b, data["kind"], data["relation"]) for a, b, data in graph.edges(data=True)}
    assert edges == {
        ("ru/a.md", "ru/b.md", "links", "contrast"),
        ("ru/a.md", "en/a.md", "translates", ""),
        ("ru/b.md", "en/b.md", "translates", ""),
        ("en/a.md", "ru/a.md", "translates", ""),
        ("en/b.md", "ru/b.md", "translates", ""),
        ("ru/b.md", "ru/a.md", "embeds", ""),
        ("ru/b.md", "?ghost", "links", ""),
        ("ru/b.md", "p.png", "embeds", ""),
        ("en/a.md", "en/b.md", "links", ""),
        ("en/a.md", "ru/b.md", "links", ""),
        ("en/b.md", "en/a.md", "links", ""),
    }
    kinds = {node: data["kind"] for node, data in graph.nodes(data=True)}
    assert (kinds["?ghost"], kinds["p.png"], kinds["ru/a.md"]) == ("ghost", "file", "note")


def test_backlinks_have_their_sentence_and_section(root: Path) -> None:
    found = backlinks(load_vault(root))
    (one, two) = found[NoteId("ru/b.md")]
    assert (two.source, two.relation) == ("ru/a.md", "contrast")
    assert two.sentence == "См. Б, напр. тут."
    assert two.heading is not None
    assert two.heading.id == "ties"
    assert one.sentence == "Two b."
    first, second = found[NoteId("en/b.md")]
    assert first.sentence == "One e.g. two b and code; see x."
    assert second.before == "One e.g. two b and code; see "
    assert [link.sentence for link in found[NoteId("en/a.md")]] == ["a"]


def test_formats(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["graph", "--vault", str(root), "--format"]
    assert main([*command, "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    edge = next(edge for edge in data["edges"] if edge["relation"])
    assert (edge["line"], edge["column"], edge["sentence"]) == (5, 13, "См. Б, напр. тут.")
    assert main([*command, "graphml"]) == 0
    assert ET.fromstring(capsys.readouterr().out).tag.endswith("graphml")
    assert main([*command, "dot"]) == 0
    assert '"ru/a.md" -> "ru/b.md" [label="contrast"];' in capsys.readouterr().out
    assert main([*command, "mermaid"]) == 0
    assert capsys.readouterr().out.startswith("flowchart LR\n")


def test_stats(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--vault", str(root), "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["notes_by_language"] == {"ru": 2, "en": 2}
    assert data["links_by_state"] == {"found": 7, "missing": 2}
    assert data["ghosts"] == {"ghost": 1}
    assert sum(data["central"].values()) > 0.5
