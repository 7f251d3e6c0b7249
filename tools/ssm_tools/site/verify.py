"""Open every page that was built and compare its links with the resolver's answers."""

from __future__ import annotations

import re
from functools import lru_cache
from html import unescape
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote

from ssm_tools.findings import Finding
from ssm_tools.notes import Found, LinkKind
from ssm_tools.notes.check import shown_prefix
from ssm_tools.site.assemble import Assembly

_HREF = re.compile(r"""<[^>]*?\s(?:href|src)="([^"]*)"[^>]*>""")
_ID = re.compile(r"""<[^>]*?\s(?:id|name)="([^"]+)\"""")
_EXTERNAL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//")


def verify_site(made: Assembly, out: Path) -> tuple[list[Finding], int]:
    """Return a finding for every link that leads nowhere or elsewhere, and how many were opened."""
    pages = {path.relative_to(out).as_posix(): path for path in out.rglob("*.html")}
    links: dict[str, set[tuple[str, str]]] = {}
    ids: dict[str, set[str]] = {}
    for address, path in pages.items():
        text = path.read_text(encoding="utf-8")
        ids[address] = set(map(unescape, _ID.findall(text)))
        links[address] = {
            target
            for href in set(_HREF.findall(text))
            if (target := opened(unescape(href), address)) is not None
        }
    findings = []
    for address, targets in links.items():
        for leads, fragment in sorted(targets):
            why = _wrong(out, ids, leads, fragment)
            if why:
                findings.append(_finding(made, address, leads, fragment, why))
    findings += _unkept(made, links)
    return findings, sum(map(len, links.values()))


def opened(href: str, address: str) -> tuple[str, str] | None:
    """Return the address and fragment that a browser opens for a link, None for other sites."""
    if not href or _EXTERNAL.match(href):
        return None
    path, _, fragment = href.partition("#")
    where = _opened_path(path, dirname(address)) if path else address
    return where, unquote(fragment) if "%" in fragment else fragment


@lru_cache(maxsize=1 << 16)
def _opened_path(path: str, folder: str) -> str:
    return normpath(join(folder, unquote(path.partition("?")[0])))


def _wrong(out: Path, ids: dict[str, set[str]], target: str, fragment: str) -> str:
    if target.startswith(".."):
        return "leads out of the site"
    if target in ids:
        return "has no such place" if fragment and fragment not in ids[target] else ""
    return "" if (out / target).is_file() else "does not exist"


def _finding(made: Assembly, address: str, target: str, fragment: str, why: str) -> Finding:
    note = next((n for n, a in made.sources.addresses.items() if a == address), None)
    path = f"{shown_prefix(made.sources.vault)}{note}" if note else f"site/{address}"
    shown = f"{target}#{fragment}" if fragment else target
    return Finding(path, 1, 1, "B003", f"a link of {address} leads to {shown}, which {why}")


def _unkept(made: Assembly, links: dict[str, set[tuple[str, str]]]) -> list[Finding]:
    """Answers of the resolver that the finished page does not have."""
    sources = made.sources
    findings = []
    for note in sources.vault.notes.values():
        address = sources.addresses[note.id]
        have = links.get(address, set())
        for link, answer in zip(note.links, sources.answers[note.id], strict=True):
            if not isinstance(answer, Found) or answer.note is None:
                continue
            if link.kind not in (LinkKind.WIKI, LinkKind.MARKDOWN) or _hidden(note.comments, link):
                continue
            wanted = (sources.addresses[answer.note], answer.fragment)
            if wanted not in have:
                path = f"{shown_prefix(sources.vault)}{note.id}"
                message = f"the page does not link to {wanted[0]}#{wanted[1]} as resolved"
                findings.append(Finding(path, link.line, link.column, "B003", message))
    return findings


def _hidden(comments: tuple[tuple[int, int], ...], link: object) -> bool:
    start = getattr(link, "start", 0)
    return any(begin <= start < end for begin, end in comments)
