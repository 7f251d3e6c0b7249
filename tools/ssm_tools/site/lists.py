"""Generated pages: the index of topics, references, the glossary, the ledger, the first page."""

from __future__ import annotations

from collections import defaultdict
from html import escape

import networkx as nx

from ssm_tools.concepts import Paper
from ssm_tools.notes import Note
from ssm_tools.site.engine_page import engine_page
from ssm_tools.site.families import family_of, family_rank, hue
from ssm_tools.site.ledger import ledger_page
from ssm_tools.site.links import family_name
from ssm_tools.site.markdown import TocItem
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.notes_pages import description_of
from ssm_tools.site.strings import family_title, strings
from ssm_tools.site.topic_graph import TopicGraph
from ssm_tools.site.urls import relative, with_fragment


def list_pages(sources: Sources, language: str, graph: TopicGraph) -> list[Page]:
    """Return the generated pages of a language."""
    pages = [topics_page(sources, language, graph, sources.generated("topics", language))]
    pages.append(lost_page(sources, language))
    home = sources.generated_home(language)
    if home not in sources.addresses.values():
        first = topics_page(sources, language, graph, home)
        first.title = sources.config.name or strings(sources.tongue(language))["site"]
        pages.append(first)
    if sources.config.project:
        pages += [
            references_page(sources, language),
            glossary_page(sources, language),
            ledger_page(sources, language),
            engine_page(sources, language),
        ]
    return pages


def lost_page(sources: Sources, language: str) -> Page:
    """What a reader sees at an address that the site does not have."""
    words = strings(sources.tongue(language))
    address = sources.generated("404", language)
    links = [
        (sources.generated_home(language), words["home"]),
        (sources.generated("topics", language), words["topics"]),
        (sources.generated("graph", language), words["graph"]),
    ]
    rows = "".join(
        f'<li><a href="{escape(relative(target, address))}">{name}</a></li>'
        for target, name in links
    )
    html = f"<p>{words['lost']}</p><ul>{rows}</ul>"
    return Page(address, language, words["notfound"], html, "lost", markdown=words["lost"])


def topics_page(sources: Sources, language: str, graph: TopicGraph, address: str) -> Page:
    """Every topic by family; the most central, the newest, the tags, the order of reading."""
    tongue = sources.tongue(language)
    words = strings(tongue)
    families: dict[str, list[Note]] = defaultdict(list)
    notes = [note for note in sources.vault.notes.values() if sources.home(note) == language]
    for note in notes:
        families[family_of(sources, note)].append(note)
    parts, toc = [], []
    for family in sorted(families, key=family_rank):
        title = family_title(family, tongue) or words["other"]
        cards = "".join(_card(sources, note, address) for note in families[family])
        identity = escape(family or "other")
        parts.append(f'<h2 id="{identity}">{escape(title)}</h2><ul class="cards">{cards}</ul>')
        toc.append(TocItem(2, family or "other", title))
    central = sorted(graph.notes, key=lambda node: -node.weight)[:12]
    rows = "".join(
        f'<li><a href="{escape(relative(node.address, address))}">{escape(node.title)}</a></li>'
        for node in central
    )
    extra = [("central", words["central"], f"<ol>{rows}</ol>")]
    extra += [
        ("newest", words["newest"], _newest(sources, language, address)),
        ("order", words["paths"], _order(sources, language, address)),
        ("tags", words["tags"], _tags(sources, notes, address)),
        ("ghosts", words["ghosts"], _ghosts(sources, language)),
    ]
    for identity, title, body in extra:
        if body:
            parts.append(f'<h2 id="{identity}">{title}</h2>{body}')
            toc.append(TocItem(2, identity, title))
    markdown = "".join(
        f"- [{note.title}]({relative(sources.addresses[note.id], address)})\n" for note in notes
    )
    return Page(
        address, language, words["topics"], "".join(parts), "list", toc=toc,
        markdown=f"# {words['topics']}\n\n{markdown}",
    )  # fmt: skip


def _card(sources: Sources, note: Note, address: str) -> str:
    colour = hue(family_of(sources, note))
    href = escape(relative(sources.addresses[note.id], address))
    about = escape(description_of(note))
    return (
        f'<li style="--hue:{colour}"><a href="{href}">{escape(note.title)}</a>'
        f"<small>{about}</small></li>"
    )


def _newest(sources: Sources, language: str, address: str) -> str:
    dated = [
        (concept.year, note)
        for (slug, tongue), note in sources.concept_notes.items()
        if tongue == language and (concept := sources.concepts[slug]).year
    ]
    rows = "".join(
        f'<li><a href="{escape(relative(sources.addresses[note.id], address))}">'
        f"{escape(note.title)}</a> ({year})</li>"
        for year, note in sorted(dated, key=lambda pair: (-(pair[0] or 0), pair[1].title))[:10]
    )
    return f"<ol>{rows}</ol>" if rows else ""


def _order(sources: Sources, language: str, address: str) -> str:
    """Concepts so that each stands after what it requires."""
    wanted = nx.DiGraph()
    for concept in sources.concepts.values():
        wanted.add_node(concept.slug)
        wanted.add_edges_from(
            (str(slug), concept.slug) for slug in concept.requires if slug in sources.concepts
        )
    if not wanted or not nx.is_directed_acyclic_graph(wanted):
        return ""
    rows = []
    for generation in nx.topological_generations(wanted):
        notes = [sources.concept_notes.get((slug, language)) for slug in sorted(generation)]
        links = [
            f'<a href="{escape(relative(sources.addresses[note.id], address))}">'
            f"{escape(note.title)}</a>"
            for note in notes
            if note is not None
        ]
        if links:
            rows.append(f"<li>{', '.join(links)}</li>")
    about = strings(sources.tongue(language))["paths_about"]
    return f"<p>{about}</p><ol>{''.join(rows)}</ol>" if rows else ""


def _tags(sources: Sources, notes: list[Note], address: str) -> str:
    tagged: dict[str, list[Note]] = defaultdict(list)
    for note in notes:
        tags = note.front_matter.get("tags")
        for tag in tags if isinstance(tags, list) else [tags] if isinstance(tags, str) else []:
            tagged[str(tag)].append(note)
    rows = []
    for tag in sorted(tagged):
        links = ", ".join(
            f'<a href="{escape(relative(sources.addresses[note.id], address))}">'
            f"{escape(note.title)}</a>"
            for note in tagged[tag]
        )
        rows.append(f"<li><b>{escape(tag)}</b>: {links}</li>")
    return f"<ul>{''.join(rows)}</ul>" if rows else ""


def _ghosts(sources: Sources, language: str) -> str:
    ghosts = {
        target[1:]
        for source, target, _ in sources.graph.edges
        if target.startswith("?") and sources.home(sources.vault.notes[source]) == language
    }
    return f"<p>{', '.join(escape(ghost) for ghost in sorted(ghosts))}</p>" if ghosts else ""


def references_page(sources: Sources, language: str) -> Page:
    """The bibliography, each work with the pages that cite it."""
    address = sources.generated("references", language)
    words = strings(sources.tongue(language))
    citing: dict[str, list[Note]] = defaultdict(list)
    for note in sources.vault.notes.values():
        if sources.home(note) == language:
            for key in dict.fromkeys(citation.key for citation in note.citations):
                citing[key].append(note)
    rows, plain = [], []
    for paper in sorted(sources.papers.values(), key=_shelf):
        links = ", ".join(
            f'<a href="{escape(relative(sources.addresses[note.id], address))}">'
            f"{escape(note.title)}</a>"
            for note in citing.get(paper.key, [])
        )
        cited = f"<br><small>{words['cited_by']} {links}</small>" if links else ""
        title = escape(paper.title)
        named = f'<a href="{escape(paper.link)}">{title}</a>' if paper.link else title
        authors = escape(", ".join(paper.authors))
        rows.append(
            f'<li id="{escape(paper.key)}">{authors}. {named}. '
            f"<i>{escape(paper.venue)}</i>, {paper.year}{escape(_number(paper))}.{cited}</li>"
        )
        written = f"{paper.venue}, {paper.year}{_number(paper)}"
        plain.append(f"- {', '.join(paper.authors)}. {paper.title}. {written}.\n")
    html = f'<ul class="refs" lang="en">{"".join(rows)}</ul>'
    markdown = f"# {words['references']}\n\n{''.join(plain)}"
    return Page(address, language, words["references"], html, "list", markdown=markdown)


def glossary_page(sources: Sources, language: str) -> Page:
    """The terms of both languages, the page's own first."""
    tongue = sources.tongue(language)
    words = strings(tongue)
    other = "en" if tongue == "ru" else "ru"
    rows, plain = [], []
    entries = [e for e in sources.glossary if e.get("ru") and e.get("en")]
    for entry in sorted(entries, key=lambda e: str(e[tongue]).casefold()):
        forms = entry.get("forms") or []
        note = entry.get("note") or ""
        note = str(note.get(tongue, "") if isinstance(note, dict) else note)
        also = ", ".join(map(str, forms if isinstance(forms, list) else [forms]))
        rows.append(
            f'<tr><th scope="row">{escape(str(entry[tongue]))}</th>'
            f'<td lang="{other}">{escape(str(entry[other]))}</td>'
            f"<td>{escape(also)}</td><td>{escape(note)}</td></tr>"
        )
        plain.append(f"- {entry[tongue]} — {entry[other]}\n")
    head = "".join(
        f'<th scope="col">{words[key]}</th>'
        for key in ("term", "translation", "also_called", "comment")
    )
    html = (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    address = sources.generated("glossary", language)
    markdown = f"# {words['glossary']}\n\n{''.join(plain)}"
    return Page(address, language, words["glossary"], html, "list", markdown=markdown)


def note_link(sources: Sources, note: Note, address: str, fragment: str = "") -> str:
    """Return a link to a note from the page at an address."""
    href = escape(with_fragment(relative(sources.addresses[note.id], address), fragment))
    return f'<a href="{href}">{escape(note.title)}</a>'


def _shelf(paper: Paper) -> tuple[str, int, str]:
    """Where a work stands: by the first author's family name, then by year."""
    return family_name(paper.authors[0]).casefold() if paper.authors else "", paper.year, paper.key


def _number(paper: Paper) -> str:
    if paper.arxiv:
        return f". arXiv:{paper.arxiv}"
    return f". doi:{paper.doi}" if paper.doi else ""
