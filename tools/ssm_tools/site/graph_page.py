"""The page of the topic graph: links in an SVG and a table; the script adds the rest."""

from __future__ import annotations

from html import escape

from ssm_tools.site.context import script_json
from ssm_tools.site.families import hue
from ssm_tools.site.labels import LONGEST, Label, Shown, clip, levels
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.strings import family_title, strings
from ssm_tools.site.topic_graph import Node, TopicGraph, families_of, graph_json
from ssm_tools.site.urls import relative, with_fragment

SCALE = 74  # units of the drawing between neighbours
DRAWN = 500  # nodes in the SVG; larger graphs are drawn on a canvas, their table holds every link
STAGE = (1100, 640)  # pixels: the drawing on a usual screen, for names where no script runs
KINDS = ("code", "test", "kernel", "paper", "claim")


def graph_page(sources: Sources, language: str, graph: TopicGraph) -> tuple[Page, dict[str, bytes]]:
    """Return the page, with graph.json and the data of its script."""
    address = sources.generated("graph", language)
    words = strings(sources.tongue(language))
    data_address = f"{language}/graph-data.js".lstrip("/")
    shown_at = _levels(graph)
    html = (
        f'<div class="graph" data-count="{len(graph.nodes)}">{_controls(sources, graph)}'
        f'<p class="graph__help">{words["graph_help"]}</p>'
        f'<div class="graph__stage">{_svg(sources, graph, address, shown_at)}</div>'
        f'<p class="graph__status" role="status" aria-live="polite"></p></div>'
        f'<h2 id="table">{words["table"]}</h2>{_table(sources, graph, address)}'
    )
    page = Page(
        address=address,
        language=language,
        title=words["graph"],
        html=html,
        kind="graph",
        toc=[],
        markdown=_plain(graph, address, words["graph"]),
        scripts=[data_address, "assets/graph.js"],
    )
    files = {
        f"{language}/graph.json".lstrip("/"): graph_json(sources, graph),
        data_address: _script_data(graph, address, shown_at),
    }
    return page, files


def _levels(graph: TopicGraph) -> list[Shown]:
    """Where each node's name is shown; evidence comes on demand and takes no room from notes."""
    last = len(graph.notes)
    order = sorted(range(len(graph.nodes)), key=lambda n: (n >= last, -graph.nodes[n].weight, n))
    labels = [
        Label(node.x * SCALE, node.y * SCALE, _radius(node), node.title)
        for node in (graph.nodes[number] for number in order)
    ]
    shown = levels(labels[:last]) + (levels(labels)[last:] if last < len(labels) else [])
    places = dict(zip(order, shown, strict=True))
    return [places[number] for number in range(len(graph.nodes))]


def _script_data(graph: TopicGraph, address: str, shown_at: list[Shown]) -> bytes:
    nodes = [
        [
            node.id, node.kind, node.title, _href(node, address), node.family,
            round(node.x * SCALE), round(node.y * SCALE), round(_radius(node), 1), node.description,
            at.zoom, int(at.above),
        ]
        for node, at in zip(graph.nodes, shown_at, strict=True)
    ]  # fmt: skip
    hues = {name: colour for name, _, colour in families_of(graph)}
    data = {"nodes": nodes, "edges": graph.edges, "hues": hues, "longest": LONGEST}
    return f"window.SSM_GRAPH={script_json(data)};".encode()


def _href(node: Node, address: str) -> str:
    return with_fragment(relative(node.address, address), node.fragment)


def _radius(node: Node) -> float:
    return 5 + min(13.0, 3.6 * node.weight**0.5) if node.kind == "note" else 4.5


def _controls(sources: Sources, graph: TopicGraph) -> str:
    words = strings(sources.tongue(graph.language))
    families = "".join(
        f'<option value="{escape(name)}">{escape(title)}</option>'
        for name, title, _ in families_of(graph)
    )
    legend = "".join(
        f'<li style="--hue:{colour}">{escape(title)}</li>'
        for _, title, colour in families_of(graph)
    )
    kinds = "".join(
        f'<label><input type="checkbox" data-kind="{kind}"> {words[kind]}</label>'
        for kind in KINDS
        if any(node.kind == kind for node in graph.nodes)
    )
    titles = "".join(f'<option value="{escape(node.title)}">' for node in graph.notes)
    return (
        '<form class="graph__controls" hidden>'
        f"<label>{words['search_topic']} "
        '<input type="search" list="graph-titles" name="find"></label>'
        f'<label>{words["family_filter"]} <select name="family">'
        f'<option value="*">{words["all"]}</option>{families}</select></label>'
        f'<label>{words["distance"]} <select name="distance"><option value="0">{words["any"]}'
        "</option><option>1</option><option>2</option><option>3</option></select></label>"
        f'<label>{words["path_from"]} <input list="graph-titles" name="from"></label>'
        f'<label>{words["path_to"]} <input list="graph-titles" name="to"></label>'
        + (f"<fieldset><legend>{words['kind_filter']}</legend>{kinds}</fieldset>" if kinds else "")
        + f'<span class="graph__buttons"><button type="button" data-zoom="1.4" '
        f'aria-label="{words["zoom_in"]}">+</button>'
        f'<button type="button" data-zoom="0.7" aria-label="{words["zoom_out"]}">−</button>'
        f'<button type="button" data-fit>{words["fit"]}</button>'
        f'<button type="reset">{words["reset"]}</button></span>'
        f'<datalist id="graph-titles">{titles}</datalist></form>'
        f'<ul class="graph__legend">{legend}</ul>'
    )


def _drawn(graph: TopicGraph) -> set[int]:
    """The notes that the SVG shows: the most important ones where there are too many."""
    notes = range(len(graph.notes))
    return set(sorted(notes, key=lambda number: -graph.nodes[number].weight)[:DRAWN])


def place_of(note_key: str) -> str:
    """The id that a note has on the page of the graph, in the drawing or else in the table."""
    return note_key.removesuffix(".md").replace(" ", "-")


def _svg(sources: Sources, graph: TopicGraph, address: str, shown_at: list[Shown]) -> str:
    words = strings(sources.tongue(graph.language))
    shown = _drawn(graph)
    xs = [graph.nodes[n].x * SCALE for n in shown] or [0.0]
    ys = [graph.nodes[n].y * SCALE for n in shown] or [0.0]
    left, top = min(xs) - 110, min(ys) - 50
    width, height = max(xs) - left + 110, max(ys) - top + 50
    zoom = max(width / STAGE[0], height / STAGE[1])
    drawn: set[tuple[int, int]] = set()
    lines = []
    for a, b, kind in graph.edges:
        if a in shown and b in shown and (kind == "requires" or (b, a) not in drawn):
            drawn.add((a, b))
            first, second = graph.nodes[a], graph.nodes[b]
            lines.append(
                f'<line data-a="{a}" data-b="{b}" data-kind="{escape(kind)}" '
                f'x1="{first.x * SCALE:.0f}" y1="{first.y * SCALE:.0f}" '
                f'x2="{second.x * SCALE:.0f}" y2="{second.y * SCALE:.0f}"/>'
            )
    nodes = "".join(_node(graph.nodes[n], n, address, shown_at[n], zoom) for n in sorted(shown))
    return (
        f'<svg viewBox="{left:.0f} {top:.0f} {width:.0f} {height:.0f}" role="group" '
        f'aria-label="{words["graph"]}" style="--k:{zoom:.2f}" '
        f'preserveAspectRatio="xMidYMid meet"><g class="edges">{"".join(lines)}</g>'
        f'<g class="nodes">{nodes}</g></svg>'
    )


def _node(node: Node, number: int, address: str, at: Shown, zoom: float) -> str:
    x, y, radius = node.x * SCALE, node.y * SCALE, _radius(node)
    state = ' class="quiet"' if at.zoom < zoom else ""
    edge, shift = (y - radius, "-.35em") if at.above else (y + radius, "1.05em")
    shown = clip(node.title)
    return (
        f'<a{_id(node)} href="{escape(_href(node, address))}" data-n="{number}"{state} '
        f'aria-label="{escape(node.title)}" style="--hue:{hue(node.family)};--r:{radius:.1f}px">'
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}"/>'
        f'<text x="{x:.0f}" y="{edge:.0f}" dy="{shift}">{escape(shown)}</text></a>'
    )


def _table(sources: Sources, graph: TopicGraph, address: str) -> str:
    tongue = sources.tongue(graph.language)
    words = strings(tongue)
    out, into = graph.degrees()
    drawn = _drawn(graph)
    rows = "".join(
        f"<tr{'' if number in drawn else _id(node)}>"
        f'<th scope="row"><a href="{escape(_href(node, address))}">'
        f"{escape(node.title)}</a></th>"
        f"<td>{escape(family_title(node.family, tongue))}</td>"
        f"<td>{out[number]}</td><td>{into[number]}</td></tr>"
        for number, node in enumerate(graph.notes)
    )
    head = "".join(
        f'<th scope="col">{words[key]}</th>' for key in ("topic", "family", "links_out", "links_in")
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _id(node: Node) -> str:
    return f' id="{escape(place_of(node.id))}"'


def _plain(graph: TopicGraph, address: str, title: str) -> str:
    rows = "".join(f"- [{node.title}]({_href(node, address)})\n" for node in graph.notes)
    return f"# {title}\n\n{rows}"
