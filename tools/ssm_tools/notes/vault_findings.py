"""Findings that need the whole vault: names that collide, notes out of reach, circles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from ssm_tools.findings import Finding
from ssm_tools.notes.codes import CODES
from ssm_tools.notes.graph import Answers
from ssm_tools.notes.model import Link, Note, NoteId, slug_of
from ssm_tools.notes.names import FOLDER_NOTES
from ssm_tools.notes.slug import caseless
from ssm_tools.notes.trace import Trace
from ssm_tools.notes.transclusion import circular_embeds
from ssm_tools.notes.vault import Vault

MAX_CIRCLE = 12  # names of a circle that are all said


def vault_findings(
    vault: Vault, traces: Mapping[NoteId, Trace], answers: Answers
) -> Iterator[Finding]:
    """Findings of the vault as a whole, those of single notes and of their translations aside.

    Of `answers` only those of notes that embed others are looked at.
    """
    yield from _colliding_names(vault)
    yield from _aliases(traces)
    yield from _reach(traces)
    yield from _required_in_circles(traces)
    for note, link, circle in circular_embeds(vault, _perhaps_circular(traces), answers):
        shown = circle if len(circle) <= MAX_CIRCLE else (*circle[:4], "…", *circle[-3:])
        yield at_link(note, link, "L014", f"embeds itself: {' → '.join(shown)}")


def _perhaps_circular(traces: Mapping[NoteId, Trace]) -> list[NoteId]:
    """Notes that embed each other in a circle, or lead to one: the only ones worth reading."""
    holders = [trace for trace in traces.values() if trace.embeds]
    above: dict[str, list[NoteId]] = {trace.id: [] for trace in holders}
    left: dict[NoteId, int] = {}  # notes in it that have not been seen to end
    for trace in holders:
        inside = [target for target in trace.embeds if target in above]
        left[trace.id] = len(inside)
        for target in inside:
            above[target].append(trace.id)
    ended = [note_id for note_id, count in left.items() if not count]
    while ended:
        for note_id in above[ended.pop()]:
            left[note_id] -= 1
            if not left[note_id]:
                ended.append(note_id)
    return [note_id for note_id, count in left.items() if count]


def _colliding_names(vault: Vault) -> Iterator[Finding]:
    alike: dict[str, list[str]] = defaultdict(list)
    for path in (*vault.notes, *vault.files):
        alike[caseless(path)].append(path)
    for paths in alike.values():
        for path in sorted(paths)[1:] if len(paths) > 1 else ():
            message = f"differs from {min(paths)} only in case or Unicode form"
            yield Finding(path, 1, 1, "F007", message, severity=CODES["F007"].severity)


def _aliases(traces: Mapping[NoteId, Trace]) -> Iterator[Finding]:
    aliased = [trace for trace in traces.values() if trace.aliases]
    used = {call for trace in traces.values() for call in trace.called} if aliased else set()
    owners: dict[tuple[str, str], Trace] = {}
    for trace in aliased:
        for alias in trace.aliases:
            key = caseless(alias)
            owner = owners.setdefault((trace.language, key), trace)
            if owner is not trace:
                message = f"alias {alias!r} is claimed by {owner.id} as well"
                yield at(trace.id, "F010", message)
            elif (trace.id, key) not in used and caseless(slug_of(trace)) != key:
                yield at(trace.id, "F008", f"nothing uses the alias {alias!r}")


def _reach(traces: Mapping[NoteId, Trace]) -> Iterator[Finding]:
    linked: set[str] = set()
    for trace in traces.values():
        others = [target for target in trace.found if target != trace.id]
        linked.update(others)
        if not others:
            yield at(trace.id, "G002", "links to no other note")
    for note_id in traces:
        if note_id not in linked and note_id.rpartition("/")[2] not in FOLDER_NOTES:
            yield at(note_id, "G001", "no note links here")


def _required_in_circles(traces: Mapping[NoteId, Trace]) -> Iterator[Finding]:
    places: dict[tuple[str, str], tuple[int, int, int]] = {}
    for trace in traces.values():
        for target, *place in trace.requires:
            places.setdefault((trace.id, target), (place[0], place[1], place[2]))
    if not places:
        return
    import networkx as nx

    graph = nx.DiGraph(list(places))
    for knot in nx.strongly_connected_components(graph):
        edges = sorted(edge for edge in graph.subgraph(knot).edges)
        if edges:
            circle = nx.find_cycle(graph.subgraph(knot), edges[0][0])
            names = " → ".join([edge[0] for edge in circle] + [circle[-1][1]])
            line, column, length = places[circle[-1][0], circle[-1][1]]
            message = f"prerequisites in a circle: {names}"
            severity, end = CODES["G003"].severity, column + length
            yield Finding(circle[-1][0], line, column, "G003", message, "", severity, end)


def at(note_id: NoteId, code: str, message: str) -> Finding:
    """A finding about a note as a whole, of the severity that its code has."""
    return Finding(note_id, 1, 1, code, message, severity=CODES[code].severity)


def at_link(note: Note, link: Link, code: str, message: str, hint: str = "") -> Finding:
    """A finding at a link, of the severity that its code has."""
    end = link.column + max(1, min(link.end - link.start, 80))
    return Finding(note.id, link.line, link.column, code, message, hint, CODES[code].severity, end)
