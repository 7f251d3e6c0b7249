"""From bytes to text and front matter: encoding, BOM, YAML, each fault a finding with its place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ssm_tools.findings import Finding, Severity

MAX_FRONT_MATTER = 64 * 1024
MAX_FAST_NESTING = 500  # libyaml's binding recurses in C: thousands of levels end the process
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The mapping between the `---` lines, its aliases, and where the note's own text begins."""

    values: Mapping[str, Any]
    body_start: int
    findings: tuple[Finding, ...] = ()


def digest(data: bytes) -> str:
    """Return the content's hash, by which parses are reused."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decode(data: bytes, name: str) -> tuple[str, tuple[Finding, ...]]:
    """Return the text of a note; bytes that are not UTF-8 are replaced and reported once."""
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        message = f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        finding = Finding(name, line, column, "F001", message, "save the file as UTF-8")
        return data.decode("utf-8", "replace"), (finding,)


def front_matter(text: str, name: str) -> FrontMatter:
    """Return the YAML mapping at the head of a note, empty where there is none or it is broken."""
    begin = 1 if text.startswith("\ufeff") else 0
    first_end = text.find("\n", begin)
    if first_end < 0 or text[begin:first_end].rstrip() != "---":
        return FrontMatter({}, begin)
    close, after = _closing_line(text, first_end + 1)
    if close < 0:
        return FrontMatter({}, begin)
    raw = text[first_end + 1 : close]
    if len(raw) > MAX_FRONT_MATTER:
        message = f"front matter of {len(raw)} characters; at most {MAX_FRONT_MATTER} are read"
        return FrontMatter({}, after, (Finding(name, 1, 1, "F003", message),))
    try:
        values = yaml.load(raw, Loader=_loader(raw))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return FrontMatter({}, after, (_yaml_fault(error, raw, name),))
    if values is None:
        return FrontMatter({}, after)
    if not isinstance(values, dict):
        message = f"front matter is a {type(values).__name__}, not a mapping of keys to values"
        return FrontMatter({}, after, (Finding(name, 2, 1, "F003", message),))
    return FrontMatter({str(key): value for key, value in values.items()}, after)


def _loader(raw: str) -> type[Any]:
    """The fast loader, or the slow one for a text whose nesting could exhaust the fast one."""
    nested = sum(map(raw.count, ("[", "{", "- ", "? ", "-\t")))
    return _LOADER if nested <= MAX_FAST_NESTING else yaml.SafeLoader


def _closing_line(text: str, position: int) -> tuple[int, int]:
    while position < len(text):
        end = text.find("\n", position)
        stop = len(text) if end < 0 else end
        if stop - position <= 8 and text[position:stop].rstrip() in {"---", "..."}:
            return position, stop if end < 0 else stop + 1
        position = stop + 1
    return -1, -1


def _yaml_fault(error: Exception, raw: str, name: str) -> Finding:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error).split("\n")[0] or "cannot be read"
    line, column = (mark.line, mark.column) if mark else (0, 0)
    if mark is None and (position := getattr(error, "position", None)) is not None:
        line = raw.count("\n", 0, position)
        column = position - (raw.rfind("\n", 0, position) + 1)
    return Finding(name, line + 2, column + 1, "F002", f"broken YAML: {problem}")


def string_value(values: Mapping[str, Any], key: str, name: str) -> tuple[str, tuple[Finding, ...]]:
    """Return a scalar of the front matter as text; a list or mapping there is a finding."""
    value = values.get(key)
    if value is None:
        return "", ()
    if isinstance(value, (list, dict, set, tuple, bytes)):
        return "", (_wrong_type(name, key, value, "text"),)
    return str(value), ()


def string_list(
    values: Mapping[str, Any], key: str, name: str
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Return a list of texts of the front matter; a text is split at commas, as by Obsidian."""
    value = values.get(key)
    if value is None:
        return (), ()
    if isinstance(value, str):
        return tuple(text.strip() for text in value.split(",") if text.strip()), ()
    if not isinstance(value, list):
        return (), (_wrong_type(name, key, value, "a list of texts"),)
    texts = tuple(str(v) for v in value if isinstance(v, (str, int, float)) and str(v).strip())
    if len(texts) != len([v for v in value if v is not None]):
        return texts, (_wrong_type(name, key, value, "a list of texts"),)
    return texts, ()


def _wrong_type(name: str, key: str, value: object, wanted: str) -> Finding:
    message = f"{key} in the front matter should be {wanted}, not a {type(value).__name__}"
    return Finding(name, 1, 1, "F003", message, severity=Severity.ERROR)
