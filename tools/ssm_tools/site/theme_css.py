"""The theme's stylesheet without the rules for parts of pages that our templates do not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

# Parts of Material that our pages keep; rules for all its others (its header, search, ...) go.
KEPT = "typeset|button|container|main|toggle|overlay|dialog|banner|hidden"
_PART = re.compile(
    rf"\.md-(?!(?:{KEPT})\b)|\[data-md-(?!color-scheme)|\.tabbed-|\.mermaid|\.highlighttable|\.lineno"
    r"|\.giscus|\.twemoji|\.md-typeset__(?!scrollwrap|table)|\.(?:no-)?js \.md-|\.annotate|\.grid\b"
)
_SELECTORS = re.compile(r",(?![^(]*\)|[^\[]*\])")
_ICON = re.compile(r"(?<=[{;])(--md-[\w-]+):url\(\"[^\"]*\"\);?")
_MERMAID = re.compile(r"(?<=[{;])--md-mermaid-[\w-]+:[^;}]*;?")
_MASK = re.compile(r"(?<=[{;])(?:-webkit-)?mask-image:var\(--md-admonition-icon[^)]*\);?")


@lru_cache(maxsize=4)
def slim(path: Path) -> str:
    """Return a stylesheet of the theme with only the rules that our pages can use."""
    text = "".join(_rules(path.read_text(encoding="utf-8").partition("/*# sourceMappingURL")[0]))
    text = _MERMAID.sub("", _MASK.sub("", text))
    text = _ICON.sub(lambda icon: icon.group() if f"var({icon.group(1)}" in text else "", text)
    return "".join(_filled(text))


def _filled(text: str) -> Iterator[str]:
    """Yield the rules that still say something."""
    for rule in _split(text):
        head, brace, body = rule.partition("{")
        if head.startswith(("@media", "@supports")):
            body = "".join(_filled(body[:-1])) + "}"
        if body != "}":
            yield head + brace + body


def _split(text: str) -> Iterator[str]:
    """Yield the rules of a stylesheet, each with its braces; a quoted brace opens nothing."""
    start, depth, quoted = 0, 0, False
    for match in re.finditer(r'["{};]', text):
        sign = match.group()
        if sign == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif sign == "{":
            depth += 1
        elif sign == "}" or depth == 0:
            depth -= sign == "}"
            if depth == 0:
                yield text[start : match.end()]
                start = match.end()


def _rules(text: str) -> Iterator[str]:
    """Yield the rules that a page of ours can match, those inside @media as well."""
    for rule in _split(text):
        head, brace, body = rule.partition("{")
        if not brace or head.startswith(("@charset", "@page", "@font-face")):
            yield rule if not rule.startswith("@charset") else rule[rule.index(";") + 1 :]
        elif "keyframes" in head:
            continue  # only parts that are gone are animated
        elif head.startswith("@"):
            inside = "".join(_rules(body[:-1]))
            if inside:
                yield f"{head}{{{inside}}}"
        elif kept := [one for one in _SELECTORS.split(head) if not _PART.search(one)]:
            yield f"{','.join(kept)}{{{body}"
