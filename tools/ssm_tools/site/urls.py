"""Where pages lie in the site, and how one names another: relative, so that files work too."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote

_UNSAFE = re.compile(r"[\x00-\x1f\x7f<>:\"|?*\\#%]+")


def page_path(key: str) -> str:
    """Return the page of a note by its path in the language: `ssm/a.md` is `ssm/a.html`."""
    stem = key[:-3] if key.lower().endswith(".md") else key
    parts = [_UNSAFE.sub("_", part).strip() or "_" for part in stem.split("/")]
    if parts[-1].lower() in ("readme", "index"):
        parts[-1] = "index"
    return "/".join(parts) + ".html"


def relative(target: str, start: str) -> str:
    """Return the address of a page as written in another, both from the same root, quoted."""
    folder = posixpath.dirname(start)
    path = posixpath.relpath(target, folder or ".")
    return quote(path)


def with_fragment(url: str, fragment: str) -> str:
    """Return an address with its fragment, quoted for HTML and browsers alike."""
    return f"{url}#{quote(fragment, safe='^:./-_~')}" if fragment else url
