"""The graph as JSON, GraphML, DOT or Mermaid, and figures about it."""

from __future__ import annotations

import io
import json
from typing import Any

import networkx as nx

from ssm_tools.notes.graph import Answers, build_graph
from ssm_tools.notes.mentions import sentence_of
from ssm_tools.notes.vault import Vault

FORMATS = ("json", "graphml", "dot", "mermaid")


def render_graph(graph: nx.MultiDiGraph, form: str) -> str:
    """Return the graph in one of `FORMATS`; names are escaped as each asks."""
    match form:
        case "json":
            return json.dumps(as_data(graph), ensure_ascii=False, indent=1) + "\n"
        case "graphml":
            buffer = io.BytesIO()
            nx.write_graphml(_printable(graph), buffer)
            return buffer.getvalue().decode() + "\n"
        case "dot":
            return _dot(graph)
        case "mermaid":
            return _mermaid(graph)
    raise ValueError(f"unknown format {form!r}; choose one of {', '.join(FORMATS)}")


def as_data(graph: nx.MultiDiGraph) -> dict[str, Any]:
    """Nodes with their attributes, edges with source and target: what `graph.json` holds."""
    return {
        "nodes": [{"id": node, **data} for node, data in graph.nodes(data=True)],
        "edges": [{"source": a, "target": b, **data} for a, b, data in graph.edges(data=True)],
    }


def add_sentences(graph: nx.MultiDiGraph, vault: Vault) -> None:
    """Give each link's edge the sentence around it and the id of its section."""
    links = {(note.id, link.start): link for note in vault.notes.values() for link in note.links}
    for source, _, data in graph.edges(data=True):
        if "start" in data:
            note = vault.notes[source]
            section = note.section_at(data["start"])
            data["sentence"] = sentence_of(note, links[source, data["start"]])
            data["section"] = section.id if section else ""


def _printable(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    """A copy whose texts hold only what XML 1.0 allows."""
    clean = nx.MultiDiGraph()
    for node, data in graph.nodes(data=True):
        clean.add_node(_xml(node), **{key: _xml(value) for key, value in data.items()})
    for a, b, data in graph.edges(data=True):
        clean.add_edge(_xml(a), _xml(b), **{key: _xml(value) for key, value in data.items()})
    return clean


def _xml(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return "".join(
        c if c in "\t\n\r" or " " <= c < "\ufffe" or c > "\uffff" else "\ufffd" for c in value
    )


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{text}"'


def _dot(graph: nx.MultiDiGraph) -> str:
    lines = ["digraph notes {"]
    for node, data in graph.nodes(data=True):
        lines.append(f"  {_quoted(node)} [label={_quoted(data['title'])}, class={data['kind']}];")
    for a, b, data in graph.edges(data=True):
        label = data["relation"] or data["kind"]
        lines.append(f"  {_quoted(a)} -> {_quoted(b)} [label={_quoted(label)}];")
    return "\n".join([*lines, "}", ""])


def _mermaid(graph: nx.MultiDiGraph) -> str:
    numbers = {node: f"n{index}" for index, node in enumerate(graph)}
    lines = ["flowchart LR"]
    for node, data in graph.nodes(data=True):
        lines.append(f'  {numbers[node]}["{_mermaid_text(data["title"])}"]')
    for a, b in dict.fromkeys((a, b) for a, b in graph.edges()):
        lines.append(f"  {numbers[a]} --> {numbers[b]}")
    return "\n".join([*lines, ""])


def _mermaid_text(text: str) -> str:
    marks = {"&": "#amp;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "\n": " ", "#": "#35;"}
    return "".join(marks.get(c, c) for c in text)


def figures(vault: Vault, answers: Answers) -> dict[str, Any]:
    """Counts of notes, links by state, ghosts, and the most central notes by PageRank."""
    graph = build_graph(vault, answers)
    states: dict[str, int] = {}
    for row in answers.values():
        for answer in row:
            state = type(answer).__name__.lower()
            states[state] = states.get(state, 0) + 1
    notes = [node for node, data in graph.nodes(data=True) if data["kind"] == "note"]
    ghosts = [node for node, data in graph.nodes(data=True) if data["kind"] == "ghost"]
    asked = sorted(ghosts, key=lambda node: (-graph.in_degree(node), node))
    rank = page_rank(graph)
    central = sorted(notes, key=lambda node: (-rank[node], node))[:20]
    return {
        "notes": len(vault.notes),
        "notes_by_language": {
            language: sum(note.language == language for note in vault.notes.values())
            for language in vault.languages
        },
        "words": sum(len(note.text.split()) for note in vault.notes.values()),
        "links": sum(states.values()),
        "links_by_state": dict(sorted(states.items())),
        "headings": sum(len(note.headings) for note in vault.notes.values()),
        "ghosts": {node[1:]: graph.in_degree(node) for node in asked},
        "orphans": [node for node in notes if not _linked(graph, node)],
        "central": {node: round(rank[node], 5) for node in central},
    }


def _linked(graph: nx.MultiDiGraph, node: str) -> bool:
    return any(
        a != node and data["kind"] != "translates" for a, _, data in graph.in_edges(node, data=True)
    )


def page_rank(graph: nx.MultiDiGraph, damping: float = 0.85, rounds: int = 40) -> dict[str, float]:
    """Importance of each node: where a reader is who follows links and sometimes starts anew."""
    count = len(graph)
    if not count:
        return {}
    out = {
        node: [b for _, b, data in graph.out_edges(node, data=True) if data["kind"] != "translates"]
        for node in graph
    }
    rank = dict.fromkeys(graph, 1 / count)
    for _ in range(rounds):
        idle = sum(rank[node] for node, targets in out.items() if not targets)
        following = dict.fromkeys(graph, (1 - damping + damping * idle) / count)
        for node, targets in out.items():
            for target in targets:
                following[target] += damping * rank[node] / len(targets)
        rank = following
    return rank
