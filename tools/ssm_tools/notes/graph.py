"""The graph of a vault: notes and files as nodes, every link an edge with its kind and place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssm_tools.notes.model import LinkKind
from ssm_tools.notes.resolution import Ambiguous, Answer, External, Found, Missing, resolve
from ssm_tools.notes.vault import Vault

if TYPE_CHECKING:
    import networkx as nx

Answers = dict[str, tuple[Answer, ...]]


def resolve_all(vault: Vault) -> Answers:
    """Return, for each note, the answers to its links in their order."""
    return {
        note.id: tuple(resolve(vault, note, link) for link in note.links)
        for note in vault.notes.values()
    }


def build_graph(vault: Vault, answers: Answers | None = None) -> nx.MultiDiGraph:
    """Return the graph of notes, linked files and ghosts (names that nothing answers to).

    Node attributes: `kind` (note, file, ghost), `language`, `title`. Edge attributes: `kind`
    (links, embeds, translates), `relation` (typed by the author, or ""), `line`, `column`,
    `start`, `end`, `fragment`, `tier`.
    """
    import networkx as nx  # a tenth of a second, which a check can do without

    graph = nx.MultiDiGraph()
    for note in vault.notes.values():
        graph.add_node(
            note.id, kind="note", language=note.language, title=note.title, concept=note.concept
        )
    answers = resolve_all(vault) if answers is None else answers
    for note in vault.notes.values():
        for link, answer in zip(note.links, answers[note.id], strict=True):
            match answer:
                case Found(target, found_at, fragment):
                    end, kind, tier = target, "file", str(found_at)
                case Missing(name, "name"):
                    end, kind, tier, fragment = f"?{name}", "ghost", "", ""
                case Missing(_, _, target) if target:
                    end, kind, tier, fragment = target, "note", "", ""
                case Missing() | Ambiguous() | External():
                    continue
            if end not in graph:
                title = end.lstrip("?").rpartition("/")[2]
                graph.add_node(end, kind=kind, language="", title=title, concept="")
            embeds = link.kind in (LinkKind.EMBED, LinkKind.IMAGE)
            graph.add_edge(
                note.id,
                end,
                kind="embeds" if embeds else "links",
                relation=link.relation,
                line=link.line,
                column=link.column,
                start=link.start,
                end=link.end,
                fragment=fragment,
                tier=tier,
            )
        for other in vault.translations(note).values():
            graph.add_edge(note.id, other.id, kind="translates", relation="")
    return graph
