"""The site for programs: llms.txt, pages as Markdown, a sitemap, a feed; and the first page."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from ssm_tools.site.context import site_name
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.strings import language_name, strings

FEED = 30


def machine_files(sources: Sources, language: str, pages: list[Page]) -> dict[str, bytes]:
    """Return what programs read of one language."""
    prefix = f"{language}/" if language else ""
    tongue = sources.tongue(language)
    name, words = site_name(sources, language), strings(tongue)
    notes = [page for page in pages if page.kind == "note"]
    files = {
        page.address.removesuffix(".html") + ".md": page.markdown.encode("utf-8") for page in pages
    }
    tagline = words["tagline"] if sources.config.project else name
    rows = [f"# {name}", "", f"> {tagline}", "", f"## {words['topics']}", ""]
    for page in notes:
        path = page.address.removeprefix(prefix).removesuffix(".html") + ".md"
        about = f": {page.description}" if page.description else ""
        rows.append(f"- [{page.title}]({path}){about}")
    files[f"{prefix}llms.txt"] = ("\n".join(rows) + "\n").encode("utf-8")
    whole = "\n\n---\n\n".join(page.markdown for page in notes)
    files[f"{prefix}llms-full.txt"] = f"# {name}\n\n{whole}\n".encode()
    files[f"{prefix}sitemap.xml"] = _sitemap(sources, pages, prefix)
    files[f"{prefix}feed.xml"] = _feed(sources, notes, prefix, name)
    return files


def _sitemap(sources: Sources, pages: list[Page], prefix: str) -> bytes:
    base = sources.config.base_url
    rows = "".join(
        f"<url><loc>{escape(base + (page.address if base else page.address.removeprefix(prefix)))}"
        "</loc></url>\n"
        for page in pages
        if page.kind != "lost"
    )
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    space = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
    return f"{head}<urlset {space}>\n{rows}</urlset>\n".encode()


def _feed(sources: Sources, notes: list[Page], prefix: str, name: str) -> bytes:
    """Notes by the day on which they last changed, the newest first."""
    dates = changed(sources.config.vault)
    dated = sorted(
        ((dates.get(page.note.id if page.note else "", ""), page) for page in notes),
        key=lambda pair: (pair[0], pair[1].address),
        reverse=True,
    )[:FEED]
    entries = "".join(
        f"<entry><title>{escape(page.title)}</title>"
        f"<id>urn:ssm-notes:{escape(page.address)}</id>"
        f'<link href="{escape(page.address.removeprefix(prefix))}"/>'
        f"<updated>{date or '1970-01-01T00:00:00Z'}</updated>"
        f"<summary>{escape(page.description)}</summary></entry>\n"
        for date, page in dated
    )
    newest = dated[0][0] if dated and dated[0][0] else "1970-01-01T00:00:00Z"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
        f"<title>{escape(name)}</title><id>urn:ssm-notes:{escape(prefix or name)}</id>"
        f"<updated>{newest}</updated><author><name>{escape(name)}</name></author>\n"
        f"{entries}</feed>\n"
    ).encode()


def changed(vault: Path) -> dict[str, str]:
    """Return when each note was last changed, from git; empty where there is no history."""
    command = ["git", "-C", str(vault), "log", "--relative", "--format=@%ct", "--name-only", "."]
    try:
        log = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    dates: dict[str, str] = {}
    stamp = ""
    for line in log.stdout.splitlines():
        if line.startswith("@"):
            moment = datetime.fromtimestamp(int(line[1:]), tz=UTC)
            stamp = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        elif line:
            dates.setdefault(line, stamp)
    return dates


def root_files(sources: Sources) -> dict[str, bytes]:
    """Return the first page of a site of several languages, and the page of lost readers."""
    if sources.languages == ("",):
        return {}
    links = [
        (f"{language}/index.html", language_name(language), language)
        for language in sources.languages
    ]
    return {"index.html": _choice(sources, links), "404.html": _lost(links)}


def _choice(sources: Sources, links: list[tuple[str, str, str]]) -> bytes:
    """A page of plain links that sends a reader to the language of the browser."""
    script = (
        "var w=(navigator.languages||[navigator.language]).map(function(l){"
        'return l.slice(0,2)}),h={ru:"ru",uk:"ru",be:"ru",kk:"ru"};'
        "for(var i=0;i<w.length;i++){var l=document.querySelector('a[hreflang=\"'+(h[w[i]]||w[i])"
        "+'\"]');if(l){location.replace(l.getAttribute('href'));break}}"
        "if(i===w.length){location.replace((document.querySelector('a[hreflang=en]')"
        "||document.querySelector('a[hreflang]')).getAttribute('href'))}"
    )
    project = sources.config.project
    rows = "".join(
        f'<p lang="{escape(language)}"><a href="{escape(href)}" hreflang="{escape(language)}">'
        f"{escape(site_name(sources, language) if project else name)}</a></p>"
        for href, name, language in links
    )
    return _bare(escape(site_name(sources, "en")), f"<main>{rows}</main><script>{script}</script>")


def _lost(links: list[tuple[str, str, str]]) -> bytes:
    """The page that a web server shows for unknown addresses, however deep they lie."""
    words = "".join(
        f'<section lang="{language}"><h1>{strings(language)["notfound"]}</h1>'
        f'<p><a href="{href}">{escape(name)}</a></p></section>'
        for href, name, language in links
    )
    script = (
        "var a=document.querySelectorAll('section'),p=location.pathname;"
        "a.forEach(function(s){var i=p.indexOf('/'+s.lang+'/');if(i<0)return;"
        "a.forEach(function(o){if(o!==s)o.hidden=true;"
        "var l=o.querySelector('a');l.href=p.slice(0,i+1)+l.getAttribute('href')})})"
    )
    return _bare("404", f"<main>{words}</main><script>{script}</script>")


def _bare(title: str, body: str) -> bytes:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="icon" type="image/svg+xml" href="assets/icon.svg">'
        "<style>body{font:1.25rem/1.6 system-ui,sans-serif;display:grid;place-content:center;"
        "min-height:90vh;text-align:center;margin:1rem}a{color:#0c626a}"
        "@media(prefers-color-scheme:dark){body{background:#12191b;color:#dde4e2}a{color:#7fd0cb}}"
        f"</style></head><body>{body}</body></html>\n"
    ).encode()
