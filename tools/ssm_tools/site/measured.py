"""Measured rows as tables: medians against the peers of the same run, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape, unescape
from pathlib import Path
from typing import Any

from ssm_tools.concepts.rows import rows_path
from ssm_tools.site.measured_plot import length_plot

Row = Mapping[str, Any]
OURS = "ssm_kernels"
LONG = 24  # rows of a table that is folded away behind its pictures


def read_rows(root: Path, measurement: str) -> list[Row]:
    """Return the rows of an operator; lines that are no rows are left out."""
    path = rows_path(root, measurement)
    if not path.is_file():
        return []
    return list(_read(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=64)
def _read(path: Path, stamp: int) -> tuple[Row, ...]:
    del stamp
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines if line.lstrip().startswith("{")]
    return tuple(row for row in found if "ms" in row and "impl" in row)


def last_run(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the newest run in which ours was timed, or a peer that stands alone.

    What that run left out is filled in from others on the same card and at the same commit.
    """
    ours = [row for row in rows if row["impl"] == OURS] or list(rows)
    if not ours:
        return []
    newest = max(reversed(ours), key=lambda row: str(row.get("date", "")))  # of a day, the last
    found = [row for row in rows if row.get("run") == newest.get("run")]
    timed = {_what(row) for row in found}
    return [
        row
        for row in rows
        if row.get("run") == newest.get("run")
        or (_where(row) == _where(newest) and None not in _where(row) and _what(row) not in timed)
    ]


def _what(row: Row) -> tuple[str, ...]:
    return tuple(str(row.get(key)) for key in ("impl", "pass", "shape", "dtype"))


def _where(row: Row) -> tuple[Any, ...]:
    return row.get("device"), row.get("commit"), row.get("source_hash")


def ratio_of_largest(rows: Sequence[Row]) -> tuple[float, Row, Row] | None:
    """Return the ratio to the fastest peer, our row and the peer's, of the call that does most.

    That is a forward pass where there is one, and the call that moves most bytes; of several such
    calls the least favourable. The time of a first call is no speed.
    """
    pairs = []
    for mine in rows:
        if mine["impl"] != OURS or not mine["ms"] or str(mine.get("pass")).startswith("cold"):
            continue
        peers = [
            peer
            for peer in rows
            if peer["impl"] not in (OURS, "reference")
            and all(peer.get(key) == mine.get(key) for key in ("pass", "shape", "dtype", "run"))
        ]
        if peers:
            fastest = min(peers, key=lambda row: float(row["ms"]))
            pairs.append((fastest["ms"] / mine["ms"], mine, fastest))
    forward = [pair for pair in pairs if pair[1].get("pass") == "fwd"]
    return max(
        forward or pairs, key=lambda pair: (pair[1].get("bytes_moved", 0), -pair[0]), default=None
    )


def is_stale(root: Path, row: Row) -> bool:
    """Whether the operator's sources are not those that the row was measured on."""
    from ssm_tools.concepts.rows import NO_SOURCES, operator_hash

    recorded = str(row.get("source_hash", ""))
    if recorded in ("", NO_SOURCES):
        return False
    return operator_hash(root, str(row.get("op", ""))) != recorded


def _columns(rows: Sequence[Row]) -> list[str]:
    """The columns that some row fills; the operator only where a table holds several."""
    order = [
        "op",
        "pass",
        "shape",
        "impl",
        "ms",
        "floor_ms",
        "peak_mib",
        "state_mib",
        "error",
        "dtype",
    ]
    if len({row.get("op") for row in rows}) < 2:
        order.remove("op")
    return [key for key in order if any(row.get(key) not in (None, "", 0.0) for row in rows)]


def _heads(columns: Sequence[str], words: Mapping[str, str]) -> list[str]:
    return [words[f"column_{key}"] for key in columns]


def measurements(root: Path, name: str, words: Mapping[str, str]) -> str:
    """Return the table of an operator's newest run."""
    rows = last_run(read_rows(root, name))
    if not rows:
        return f'<p class="missing">{words["no_rows"]}</p>\n'
    columns = _columns(rows)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in _heads(columns, words))
    body = "".join(
        f"<tr{_ours(row)}>"
        + "".join(f"<td>{_cell(row, key, words)}</td>" for key in columns)
        + "</tr>"
        for row in rows
    )
    first = rows[0]
    stale = f' <strong class="stale">{words["stale"]}</strong>' if is_stale(root, first) else ""
    table = (
        '<div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    pictures = length_plot(rows, words)
    if pictures and len(rows) > LONG:
        summary = f"<summary>{words['table']}</summary>"
        table = f'<details class="setup">{summary}{table}</details>'
    return (
        f'<figure class="measured">{pictures}{table}'
        f"<figcaption>{words['provenance']}: {provenance(first)}{stale}</figcaption></figure>\n"
    )


def measured_markdown(root: Path, name: str, words: Mapping[str, str]) -> str:
    """Return the same table as Markdown."""
    rows = last_run(read_rows(root, name))
    if not rows:
        return words["no_rows"]
    columns = _columns(rows)
    lines = [_heads(columns, words), ["---"] * len(columns)]
    lines += [[unescape(_cell(row, key, words)) for key in columns] for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    facts = unescape(provenance(rows[0])).replace("<code>", "`").replace("</code>", "`")
    stale = f" **{words['stale']}**" if is_stale(root, rows[0]) else ""
    return f"{table}\n\n{words['provenance']}: {facts}{stale}"


def provenance(row: Row) -> str:
    """Return device, versions, commit, date and command of a row, in one line."""
    parts = [str(row.get(key, "")) for key in ("device", "date")]
    parts += [f"{key} {row[key]}" for key in ("driver", "torch", "triton") if row.get(key)]
    if row.get("commit"):
        parts.append(f"commit {str(row['commit'])[:10]}")
    shown = " · ".join(escape(part) for part in parts if part)
    command = f" · <code>{escape(str(row['command']))}</code>" if row.get("command") else ""
    return shown + command


def _ours(row: Row) -> str:
    return ' class="ours"' if row["impl"] == OURS else ""


def _cell(row: Row, key: str, words: Mapping[str, str]) -> str:
    """A row's field; implementations whose names are words are named in the page's language."""
    value = row.get(key)
    return escape(words[f"impl_{value}"]) if f"impl_{value}" in words else shown(value)


def shown(value: object) -> str:
    """A field of a row as text for a page."""
    if value is None or value == 0.0:  # a first call has no floor
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if value < 1e4 else f"{value:.0f}"
    if isinstance(value, dict):
        return escape(", ".join(f"{key} {item}" for key, item in value.items()))
    if isinstance(value, list):
        return escape(" × ".join(str(item) for item in value))
    return escape(str(value))
