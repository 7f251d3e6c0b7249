"""What stands under a page's text: the local graph and the backlinks with their sentences."""

from __future__ import annotations

import math
from collections import defaultdict
from html import escape
from itertools import groupby

from ssm_tools.notes import Note, NoteId
from ssm_tools.site.families import family_of, hue
from ssm_tools.site.graph_page import place_of
from ssm_tools.site.model import Sources
from ssm_tools.site.quotes import quote, without_marks
from ssm_tools.site.strings import relation_title, strings
from ssm_tools.site.urls import relative, with_fragment

QUOTED = 12  # links of one note whose sentences are shown
SHOWN = 14  # neighbours in a local graph: more would not be read
WIDTH, HEIGHT = 740, 330
LETTER = 8  # the width of a letter, on the safe side


def backlinks_html(sources: Sources, note: Note) -> str:
    """Return the notes of the same language that link here, each with its sentences."""
    address = sources.addresses[note.id]
    home = sources.home(note)
    tongue = sources.tongue(home)
    links = [
        link
        for link in sources.backlinks.get(note.id, [])
        if sources.home(sources.vault.notes[link.source]) == home
    ]
    if not links:
        return ""
    parts = []
    for source, group in groupby(links, key=lambda link: link.source):
        other = sources.vault.notes[source]
        page = relative(sources.addresses[source], address)
        rows, many = [], list(group)
        for link in many[:QUOTED]:
            fragment = link.heading.id if link.heading else ""
            section = link.heading.text if link.heading and link.heading.level > 1 else ""
            kind = escape(relation_title(link.relation, tongue))
            before, after = (
                without_marks(text, sources.papers, tongue) for text in (link.before, link.after)
            )
            where = escape(section or other.title)
            shown = escape(link.shown.replace("`", ""))  # code of the text is said, not set
            href = escape(with_fragment(page, fragment))
            rows.append(
                f'<li><span class="backlink__where"><a href="{href}">{where}</a> '
                f'<span class="backlink__kind">{kind}</span></span>'
                f"<q>{quote(before, 140, end=True)}<mark>{shown}</mark>"
                f"{quote(after, 140)}</q></li>"
            )
        if len(many) > QUOTED:
            rows.append(f"<li>… + {len(many) - QUOTED}</li>")
        parts.append(
            f'<li><a class="backlink__page" href="{escape(page)}">{escape(other.title)}</a>'
            f"<ul>{''.join(rows)}</ul></li>"
        )
    title = strings(tongue)["backlinks"]
    return (
        f'<section class="backlinks"><h2 id="backlinks">{title}</h2>'
        f"<ul>{''.join(parts)}</ul></section>"
    )


def neighbours(sources: Sources, note: Note) -> list[tuple[NoteId, str]]:
    """Return the notes one link away, the closest tied first, with how they are tied."""
    weight: dict[NoteId, float] = defaultdict(float)
    kinds: dict[NoteId, str] = {}
    for _, target, data in sources.graph.out_edges(note.id, data=True):
        if data["kind"] != "translates":
            weight[target] += 1
            kinds[target] = data["relation"] or kinds.get(target, "")
    for source, _, data in sources.graph.in_edges(note.id, data=True):
        if data["kind"] != "translates":
            weight[source] += 1
            kinds[source] = data["relation"] or kinds.get(source, "")
    concept = sources.concepts.get(note.concept)
    for slug in concept.requires if concept else ():
        if other := sources.concept_notes.get((slug, note.language)):
            weight[other.id] += 3
            kinds[other.id] = "requires"
    notes, home = sources.vault.notes, sources.home(note)
    found = [n for n in weight if n in notes and n != note.id and sources.home(notes[n]) == home]
    return [(n, kinds[n]) for n in sorted(found, key=lambda n: (-weight[n], n))[:SHOWN]]


def local_graph(sources: Sources, note: Note) -> str:
    """Return the note and its neighbours as an SVG of links, which needs no script.

    Narrow screens show the same links as a list: letters of the drawing would be too small there.
    """
    around = neighbours(sources, note)
    if not around:
        return ""
    address, words = sources.addresses[note.id], strings(sources.tongue(sources.home(note)))
    lines, nodes, names = [], [], []
    for index, (other_id, kind) in enumerate(sorted(around, key=lambda pair: pair[0])):
        x, y = _around(index, len(around))
        other = sources.vault.notes[other_id]
        colour = hue(family_of(sources, other))
        lines.append(
            f'<line x1="{WIDTH / 2:.0f}" y1="{HEIGHT / 2:.0f}" x2="{x:.0f}" y2="{y:.0f}" '
            f'data-relation="{escape(kind)}"/>'
        )
        href = escape(relative(sources.addresses[other_id], address))
        side = "end" if x < WIDTH / 2 - 40 else "start" if x > WIDTH / 2 + 40 else "middle"
        dx = {"end": -11, "start": 11, "middle": 0}[side]
        room = {"end": x, "start": WIDTH - x, "middle": WIDTH / 3}[side]
        dy = 4 if side != "middle" else (-12 if y < HEIGHT / 2 else 20)
        if side == "middle" and index % 2:  # two of these stand side by side: one goes further out
            dy += -15 if y < HEIGHT / 2 else 15
        nodes.append(
            f'<a href="{href}"><circle cx="{x:.0f}" cy="{y:.0f}" r="6" style="--hue:{colour}"/>'
            f'<text x="{x + dx:.0f}" y="{y + dy:.0f}" text-anchor="{side}">'
            f"{escape(_clip(other.title, int((room - 16) / LETTER)))}</text></a>"
        )
        names.append(f'<li style="--hue:{colour}"><a href="{href}">{escape(other.title)}</a></li>')
    page = relative(sources.generated("graph", sources.home(note)), address)
    graph = escape(with_fragment(page, place_of(note.key)))
    centre = (
        f'<circle class="here" cx="{WIDTH / 2:.0f}" cy="{HEIGHT / 2:.0f}" r="9" '
        f'style="--hue:{hue(family_of(sources, note))}"/>'
    )
    return (
        f'<section class="local-graph"><h2 id="local-graph">{words["local_graph"]}</h2>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{words["local_graph"]}">'
        f"<g>{''.join(lines)}</g>{centre}{''.join(nodes)}</svg>"
        f'<ul class="local-graph__names">{"".join(names)}</ul>'
        f'<p><a href="{graph}">{words["graph"]}</a></p></section>'
    )


def _around(index: int, count: int) -> tuple[float, float]:
    """A place on an ellipse, sides first, so that names have room."""
    angle = 2 * math.pi * (index + 0.5) / count
    radius = 0.82 if count > 8 and index % 2 else 1.0
    return WIDTH / 2 + 185 * radius * math.cos(angle), HEIGHT / 2 + 118 * radius * math.sin(angle)


def _clip(title: str, letters: int) -> str:
    return title if len(title) <= letters else title[: letters - 2].rstrip() + "…"
