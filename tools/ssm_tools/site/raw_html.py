"""HTML that stands in a note, as a page may show it: as Obsidian does, nothing that runs code."""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape
from html.parser import HTMLParser

from ssm_tools.notes.targets import scheme

_FORBIDDEN = frozenset(
    "script style title textarea xmp noembed noframes noscript plaintext base meta link object "
    "embed template".split()
)
_ADDRESSES = frozenset("href src xlink:href action formaction poster data background".split())
_SCHEMES = frozenset(("", "http", "https", "mailto", "tel", "obsidian"))
_PLAIN = re.compile(
    r'</?([a-z][a-z0-9]*)(?: (?:href|src|class|id|lang|hreflang)="[^"&:<>]*")* ?/?>'
)


@lru_cache(maxsize=1 << 12)
def harmless(html: str) -> str:
    """Return the HTML without handlers and code; tags that a page cannot have are shown as text."""
    plain = _PLAIN.fullmatch(html)
    if plain and plain.group(1) not in _FORBIDDEN:
        return html
    cleaner = _Cleaner()
    cleaner.feed(html)
    cleaner.close()
    return "".join(cleaner.parts)


class _Cleaner(HTMLParser):
    """Writes again what may stay of the HTML that it is fed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Write an opening tag with the attributes that it may have."""
        written = self.get_starttag_text() or ""
        if tag in _FORBIDDEN:
            self.parts.append(escape(written, quote=False))
            return
        kept = [(name, value) for name, value in attrs if _may_stay(name, value or "")]
        words = [tag, *(f'{name}="{escape(value or "")}"' for name, value in kept)]
        self.parts.append(f"<{' '.join(words)}{' /' if written.endswith('/>') else ''}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Write a tag that closes itself."""
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        """Write a closing tag."""
        self.parts.append(f"&lt;/{tag}&gt;" if tag in _FORBIDDEN else f"</{tag}>")

    def handle_data(self, data: str) -> None:
        """Write text."""
        self.parts.append(escape(data, quote=False))

    def handle_entityref(self, name: str) -> None:
        """Write an entity as it stands."""
        self.parts.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        """Write a character's number as it stands."""
        self.parts.append(f"&#{name};")


def _may_stay(name: str, value: str) -> bool:
    if not re.fullmatch(r"[a-z][\w:.-]*", name) or name.startswith("on") or name == "srcdoc":
        return False
    if name not in _ADDRESSES:
        return True
    return scheme(value) in _SCHEMES or value.startswith("data:image/")
