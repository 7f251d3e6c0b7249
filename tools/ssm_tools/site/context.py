"""What a page's template is given: its words, its links, its data for machines."""

from __future__ import annotations

import json
from typing import Any

from ssm_tools.site.links import short_reference
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.nav import Navigation
from ssm_tools.site.strings import family_title, language_name, strings

SCRIPT_WORDS = ("copy", "copied", "search_none", "search_one", "no_path")


def page_context(sources: Sources, navigation: Navigation, page: Page) -> dict[str, Any]:
    """Return the template's variables for a page."""
    tongue = sources.tongue(page.language)
    words = strings(tongue)
    name = site_name(sources, page.language)
    home = sources.generated_home(page.language)
    concept = sources.concepts.get(page.note.concept) if page.note else None
    family = family_title(page.family, tongue) if page.family else ""
    trail = [
        part for part in (family, str(concept.year) if concept and concept.year else "") if part
    ]
    return {
        "words": words,
        "scriptwords": {key: words[key] for key in SCRIPT_WORDS},
        "lang": tongue,
        "site": name,
        "title": page.title,
        "top": title_id(page),
        "home": page.address == home,
        "description": page.description,
        "lede": page.description,
        "kind": page.kind,
        "card": page.card,
        "toc": page.toc,
        "foot": page.foot,
        "trail": " · ".join(trail),
        "nav": navigation.html(page),
        "root": page.to("x").removesuffix("x"),
        "prefix": f"{page.language}/" if page.language else "",
        "homehref": page.to(home),
        "graph": page.to(sources.generated("graph", page.language)),
        "topics": page.to(sources.generated("topics", page.language)),
        "markdown": page.to(page.address.removesuffix(".html") + ".md"),
        "feed": page.to(f"{page.language}/feed.xml".lstrip("/")),
        "license": words["license"] if sources.config.project else "",
        "only": only(sources, page),
        "switch": list(switches(sources, page)),
        "alternates": alternates(page, tongue),
        "jsonld": json_ld(sources, page, tongue),
        "scripts": [page.to(script) for script in page.scripts],
    }


def title_id(page: Page) -> str:
    """Return the id of the page's title: that of the note's first heading, which links may name."""
    note = page.note
    return note.headings[0].id if note and note.headings and note.headings[0].level == 1 else "top"


def site_name(sources: Sources, language: str) -> str:
    """Return what the site is called in a language."""
    return sources.config.name or strings(sources.tongue(language))["site"]


def only(sources: Sources, page: Page) -> str:
    """Return the mark of a page that exists in one language only."""
    if page.kind != "note" or len(sources.languages) < 2 or page.alternates:
        return ""
    return strings(sources.tongue(page.language))["only"]


def switches(sources: Sources, page: Page) -> list[dict[str, Any]]:
    """Return a link for each other language: the same page, or the home page without one."""
    found = []
    for language in sources.languages:
        if language == page.language:
            continue
        address = page.alternates.get(language)
        words = strings(sources.tongue(page.language))
        target = address or sources.generated_home(language)
        found.append({
            "language": language,
            "name": language_name(language),
            "href": page.to(target),
            "title": words["switch" if address else "only"],
            "home": address is None,
        })  # fmt: skip
    return found


def alternates(page: Page, tongue: str) -> list[dict[str, str]]:
    """Return the page in each language for search engines, itself included."""
    if not page.alternates:
        return []
    rows = [{"language": tongue, "href": page.to(page.address)}]
    return rows + [
        {"language": language, "href": page.to(address)}
        for language, address in page.alternates.items()
    ]


def json_ld(sources: Sources, page: Page, tongue: str) -> str:
    """Return the page as JSON-LD, safe inside a script element."""
    concept = sources.concepts.get(page.note.concept) if page.note else None
    data: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "TechArticle",
        "headline": page.title,
        "inLanguage": tongue,
        "description": page.description,
        "isPartOf": {"@type": "WebSite", "name": site_name(sources, page.language)},
    }
    if concept is not None:
        data["about"] = {
            "@type": "DefinedTerm",
            "name": page.title,
            "termCode": concept.slug,
            "inDefinedTermSet": family_title(concept.family, tongue),
        }
        cited = [sources.papers[key] for key in concept.papers if key in sources.papers]
        data["citation"] = [
            {
                "@type": "ScholarlyArticle",
                "name": paper.title,
                "creditText": short_reference(paper.authors, paper.year, tongue),
                "url": paper.link,
            }
            for paper in cited
        ]
    return script_json(data)


def script_json(data: Any) -> str:
    """Return JSON that may stand inside a script element: nothing in it can close or open one."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
