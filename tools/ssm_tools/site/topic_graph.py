"""The graph that readers see: topics, and on demand code, tests, kernels, papers and claims."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_tools.concepts import Concept, locate_symbol
from ssm_tools.notes import Note
from ssm_tools.site.families import family_of, hue
from ssm_tools.site.layout import place
from ssm_tools.site.listing import code_address
from ssm_tools.site.model import Sources
from ssm_tools.site.strings import family_title, strings


@dataclass(slots=True)
class Node:
    """A thing with a page: `address` counts from the site's root."""

    id: str
    kind: str  # note, code, test, kernel, paper, claim
    title: str
    address: str
    family: str = ""
    fragment: str = ""
    description: str = ""
    x: float = 0.0
    y: float = 0.0
    weight: float = 0.0  # importance: PageRank times the number of notes


@dataclass(slots=True)
class TopicGraph:
    """Nodes in a fixed order, and edges `(from, to, kind)` by their indices."""

    language: str
    nodes: list[Node] = field(default_factory=list)
    edges: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def notes(self) -> list[Node]:
        """The nodes that are notes; they come first."""
        return [node for node in self.nodes if node.kind == "note"]

    def degrees(self) -> tuple[Counter[int], Counter[int]]:
        """How many edges leave and enter each node, between notes only."""
        last = len(self.notes)
        inside = [(a, b) for a, b, _ in self.edges if a < last and b < last]
        return Counter(a for a, _ in inside), Counter(b for _, b in inside)


def topic_graph(sources: Sources, language: str) -> TopicGraph:
    """Return the graph of a language with everything placed."""
    graph = TopicGraph(language)
    notes = [note for note in sources.vault.notes.values() if sources.home(note) == language]
    index = {note.id: number for number, note in enumerate(notes)}
    for note in notes:
        graph.nodes.append(_note_node(sources, note))
    seen: set[tuple[int, int, str]] = set()
    for source, target, data in sources.graph.edges(data=True):
        if data["kind"] == "translates" or source not in index or target not in index:
            continue
        edge = (index[source], index[target], data["relation"] or "links")
        if edge[0] != edge[1] and edge not in seen:
            seen.add(edge)
            graph.edges.append(edge)
    for note in notes:
        concept = sources.concepts.get(note.concept)
        for slug in concept.requires if concept else ():
            if other := sources.concept_notes.get((slug, language)):
                graph.edges.append((index[note.id], index[other.id], "requires"))
    _weigh(graph)
    pairs = tuple(sorted({(min(a, b), max(a, b)) for a, b, _ in graph.edges}))
    places = place(tuple(node.family for node in graph.nodes), pairs)
    for node, (x, y) in zip(graph.nodes, places, strict=True):
        node.x, node.y = x, y
    for note in notes:
        if concept := sources.concepts.get(note.concept):
            _evidence(sources, graph, index[note.id], concept)
    return graph


def _note_node(sources: Sources, note: Note) -> Node:
    from ssm_tools.site.notes_pages import description_of

    return Node(
        note.key.removesuffix(".md"), "note", note.title, sources.addresses[note.id],
        family_of(sources, note), description=description_of(note)[:200],
    )  # fmt: skip


def _weigh(graph: TopicGraph) -> None:
    """Give each node its PageRank times the number of nodes."""
    pairs = sorted({(a, b) for a, b, _ in graph.edges})
    for node, rank in zip(graph.nodes, _pagerank(len(graph.nodes), pairs), strict=True):
        node.weight = round(float(rank) * len(graph.nodes), 3)


def _pagerank(
    count: int, pairs: list[tuple[int, int]], rounds: int = 40, damping: float = 0.85
) -> NDArray[np.float64]:
    """PageRank by power iteration."""
    rank = np.full(count, 1 / max(count, 1))
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    out = np.bincount(ends[:, 0], minlength=count)
    for _ in range(rounds):
        given = np.bincount(ends[:, 1], (rank / np.maximum(out, 1))[ends[:, 0]], minlength=count)
        loose = damping * rank[out == 0].sum() / max(count, 1)
        rank = (1 - damping) / max(count, 1) + loose + damping * given
    return rank


def _evidence(sources: Sources, graph: TopicGraph, at: int, concept: Concept) -> None:
    """Add what ties a concept to code, around its note."""
    known = {node.id: number for number, node in enumerate(graph.nodes)}
    rows = list(_ties(sources, graph.language, concept))
    centre = graph.nodes[at]
    for number, (node, kind) in enumerate(rows):
        if node.id not in known:
            angle, radius = number * 2.39996, 0.28 + 0.09 * math.sqrt(number)
            node.x = round(centre.x + radius * math.cos(angle), 3)
            node.y = round(centre.y + radius * math.sin(angle), 3)
            known[node.id] = len(graph.nodes)
            graph.nodes.append(node)
        graph.edges.append((known[node.id], at, kind))


def _ties(sources: Sources, language: str, concept: Concept) -> Any:
    family = str(concept.family)
    root = sources.config.root
    kernels = [(str(kernel.symbol), "kernel", "accelerates") for kernel in concept.kernels]
    symbols = [(str(name), "code", "implements") for name in concept.implementation]
    for name, kind, edge in symbols + kernels:
        if symbol := locate_symbol(root, name):
            address = code_address(symbol.path)
            yield Node(name, kind, name, address, family, f"L{symbol.line}"), edge
    for test in map(str, concept.tests):
        address = code_address(test.partition("::")[0])
        yield Node(test, "test", test.rpartition("/")[2], address, family), "tests"
    references = sources.generated("references", language)
    for key in concept.papers:
        if paper := sources.papers.get(key):
            yield Node(f"@{key}", "paper", paper.title, references, family, key), "cites"
    ledger = sources.generated("claims", language)
    tongue = sources.tongue(language)
    for claim in concept.claims:
        name = f"{concept.slug}/{claim.id}"
        text = claim.texts.get(tongue, name)
        yield Node(f"claim:{name}", "claim", text, ledger, family, name), "claims"


def graph_json(sources: Sources, graph: TopicGraph) -> bytes:
    """Return the graph for programs: graph.json."""
    tongue = sources.tongue(graph.language)
    nodes = [
        {
            "id": node.id,
            "kind": node.kind,
            "title": node.title,
            "url": _inside(node, graph.language),
            "family": node.family,
            "x": node.x,
            "y": node.y,
            "weight": node.weight,
        }
        for node in graph.nodes
    ]
    edges = [
        {"source": graph.nodes[a].id, "target": graph.nodes[b].id, "kind": kind}
        for a, b, kind in graph.edges
    ]
    for node in graph.notes:
        for language in sources.languages:
            if language != graph.language and f"{language}/{node.id}.md" in sources.vault.notes:
                edge = {"source": node.id, "target": f"{language}:{node.id}", "kind": "translates"}
                edges.append(edge)
    data = {"language": tongue, "nodes": nodes, "edges": edges}
    return json.dumps(data, ensure_ascii=False, indent=1).encode("utf-8")


def _inside(node: Node, language: str) -> str:
    fragment = f"#{node.fragment}" if node.fragment else ""
    if language and not node.address.startswith(f"{language}/"):
        return f"../{node.address}{fragment}"
    return node.address.removeprefix(f"{language}/") + fragment if language else node.address


def families_of(graph: TopicGraph) -> list[tuple[str, str, int]]:
    """Return the families of a graph: name, title, hue."""
    from ssm_tools.site.families import family_rank

    tongue = "ru" if strings(graph.language)["language"] == "Русский" else "en"
    names = sorted({node.family for node in graph.nodes}, key=family_rank)
    other = strings(tongue)["other"]
    return [(name, family_title(name, tongue) or other, hue(name)) for name in names]
