"""Where pages lie in the site, and how one names another: relative, so that files work too."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

_UNSAFE = re.compile(r"[\x00-\x1f\x7f<>:\"|?*\\#%]+")


def page_path(key: str) -> str:
    """Return the page of a note by its path in the language: `ssm/a.md` is `ssm/a.html`."""
    stem = key[:-3] if key.lower().endswith(".md") else key
    parts = [_UNSAFE.sub("_", part).strip() or "_" for part in stem.split("/")]
    if parts[-1].lower() in ("readme", "index"):
        parts[-1] = "index"
    return "/".join(parts) + ".html"


@lru_cache(maxsize=1 << 16)
def relative(target: str, start: str) -> str:
    """Return the address of a page as written in another, both from the same root, quoted."""
    return _from_folder(target, start.rpartition("/")[0])


@lru_cache(maxsize=1 << 16)
def _from_folder(target: str, folder: str) -> str:
    there, here = target.split("/"), folder.split("/") if folder else []
    shared = 0
    for one, other in zip(there[:-1], here, strict=False):
        if one != other:
            break
        shared += 1
    return quote("/".join([".."] * (len(here) - shared) + there[shared:]))


def with_fragment(url: str, fragment: str) -> str:
    """Return an address with its fragment, quoted for HTML and browsers alike."""
    return f"{url}#{quote(fragment, safe='^:./-_~')}" if fragment else url
