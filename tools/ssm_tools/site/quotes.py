"""A sentence of another note, as a backlink quotes it: what its page shows, without the marks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape, unescape

from ssm_tools.concepts import Paper
from ssm_tools.site.links import short_reference
from ssm_tools.site.tex import TexError, convert

_FORMULA = re.compile(r"\$([^$]+)\$")
_CLAIMS = re.compile(r"(?P<colon>:?)(?:[\s,;]*(?<!\w)claim:[\w/-]+)+(?P<next>[.,;:)]?)")
_KEY = re.compile(r"(?<![\w/-])@?([a-z][a-z-]*\d{4}\w+)(?![\w-])")


def without_marks(text: str, papers: Mapping[str, Paper], language: str) -> str:
    """Return the text with no marks of claims, and works named as on the page, not by key."""

    def work(match: re.Match[str]) -> str:
        paper = papers.get(match.group(1))
        return short_reference(paper.authors, paper.year, language) if paper else match.group()

    return _KEY.sub(work, _CLAIMS.sub(_end, text))


def _end(match: re.Match[str]) -> str:
    """Close a sentence that a colon left open for its mark."""
    return match["next"] or ("." if match["colon"] else "")


def quote(text: str, limit: int, *, end: bool = False) -> str:
    """Return as HTML the first characters of the text, or the last, its formulas as MathML."""
    if len(text) > limit:
        part = text[-limit:] if end else text[:limit]
        if part.count("$") % 2:  # the cut went through a formula: leave all of it out
            part = part[part.index("$") + 1 :] if end else part[: part.rindex("$")]
        text = "…" + part.lstrip() if end else part.rstrip() + "…"
    return _FORMULA.sub(_formula, escape(text, quote=False))


def _formula(match: re.Match[str]) -> str:
    try:
        return convert(unescape(match.group(1))).mathml
    except TexError:
        return match.group()
