"""Findings that need the whole vault: names that collide, notes out of reach, circles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import networkx as nx

from ssm_tools.findings import Finding
from ssm_tools.notes.codes import CODES
from ssm_tools.notes.graph import Answers
from ssm_tools.notes.model import Link, Note
from ssm_tools.notes.names import FOLDER_NOTES
from ssm_tools.notes.resolution import Found, Tier
from ssm_tools.notes.slug import caseless
from ssm_tools.notes.transclusion import circular_embeds
from ssm_tools.notes.vault import Vault


def vault_findings(vault: Vault, answers: Answers) -> Iterator[Finding]:
    """Findings of the vault as a whole, those of single notes and of their translations aside."""
    yield from _colliding_names(vault)
    yield from _aliases(vault, answers)
    yield from _reach(vault, answers)
    yield from _required_in_circles(vault, answers)
    for note, link, circle in circular_embeds(vault, answers):
        yield at_link(note, link, "L014", f"embeds itself: {' → '.join(circle)}")


def _colliding_names(vault: Vault) -> Iterator[Finding]:
    alike: dict[str, list[str]] = defaultdict(list)
    for path in (*vault.notes, *vault.files):
        alike[caseless(path)].append(path)
    for paths in alike.values():
        for path in sorted(paths)[1:]:
            message = f"differs from {min(paths)} only in case or Unicode form"
            yield Finding(path, 1, 1, "F007", message, severity=CODES["F007"].severity)


def _aliases(vault: Vault, answers: Answers) -> Iterator[Finding]:
    used: set[tuple[str, str]] = set()
    aliased = {note.id for note in vault.notes.values() if note.aliases}
    for note in vault.notes.values():
        for link, answer in zip(note.links, answers[note.id], strict=True):
            if isinstance(answer, Found) and answer.target in aliased:
                for written in (link.text, link.path if answer.tier is Tier.ALIAS else None):
                    if written:
                        used.add((answer.target, caseless(written)))
    owners: dict[tuple[str, str], Note] = {}
    for note in vault.notes.values():
        for alias in note.aliases:
            key = caseless(alias)
            owner = owners.setdefault((note.language, key), note)
            if owner is not note:
                yield at(note, 1, 1, "F010", f"alias {alias!r} is claimed by {owner.id} as well")
            elif (note.id, key) not in used and caseless(note.slug) != key:
                yield at(note, 1, 1, "F008", f"nothing uses the alias {alias!r}")


def _reach(vault: Vault, answers: Answers) -> Iterator[Finding]:
    linked: set[str] = set()
    for note in vault.notes.values():
        targets = {a.target for a in answers[note.id] if isinstance(a, Found)} - {note.id}
        linked |= targets
        if not targets:
            yield at(note, 1, 1, "G002", "links to no other note")
    for note in vault.notes.values():
        if note.id not in linked and note.id.rpartition("/")[2] not in FOLDER_NOTES:
            yield at(note, 1, 1, "G001", "no note links here")


def _required_in_circles(vault: Vault, answers: Answers) -> Iterator[Finding]:
    graph = nx.DiGraph()
    places: dict[tuple[str, str], tuple[Note, Link]] = {}
    for note in vault.notes.values():
        for link, answer in zip(note.links, answers[note.id], strict=True):
            if link.relation == "requires" and isinstance(answer, Found):
                graph.add_edge(note.id, answer.target)
                places.setdefault((note.id, answer.target), (note, link))
    for knot in nx.strongly_connected_components(graph):
        edges = sorted(edge for edge in graph.subgraph(knot).edges)
        if edges:
            circle = nx.find_cycle(graph.subgraph(knot), edges[0][0])
            names = " → ".join([edge[0] for edge in circle] + [circle[-1][1]])
            note, link = places[circle[-1][0], circle[-1][1]]
            yield at_link(note, link, "G003", f"prerequisites in a circle: {names}")


def at(note: Note, line: int, column: int, code: str, message: str, hint: str = "") -> Finding:
    """A finding of the severity that its code has."""
    return Finding(note.id, line, column, code, message, hint, CODES[code].severity)


def at_link(note: Note, link: Link, code: str, message: str, hint: str = "") -> Finding:
    """A finding at a link, of the severity that its code has."""
    end = link.column + max(1, min(link.end - link.start, 80))
    return Finding(note.id, link.line, link.column, code, message, hint, CODES[code].severity, end)
