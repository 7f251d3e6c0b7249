"""What a check found, kept between runs in the user's cache folder; the vault is never written to.

A file holds a `Session`'s state as plain values, behind a hash of them and a key that changes with
the engine's own source, so that one which is damaged, foreign or old is read as none.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssm_tools.findings import Finding, Fix, Severity
from ssm_tools.notes.session import State
from ssm_tools.notes.trace import Trace

WORTHWHILE = 500  # notes; a smaller vault is checked anew in less time than a file is worth
MAX_FILES = 16  # vaults remembered
_RECENT = 2_000_000_000  # ns; a file this young can change again without a new time
_MAGIC = b"ssm-notes kept\n"


def cache_folder() -> Path:
    """The folder for files like these: `$XDG_CACHE_HOME/ssm-notes`, or `~/.cache/ssm-notes`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "ssm-notes"


def kept_path(root: Path, languages: tuple[str, ...] | None) -> Path:
    """Where the state of a vault lies."""
    name = repr((os.path.realpath(root), languages)).encode("utf-8", "surrogateescape")
    return cache_folder() / f"{hashlib.blake2b(name, digest_size=12).hexdigest()}.kept"


def load_state(path: Path) -> State | None:
    """Return the state in a file, None where there is none that this engine wrote."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    head = len(_MAGIC) + 16
    if not data.startswith(_MAGIC) or data[len(_MAGIC) : head] != _hash(data[head:]):
        return None
    key, values = marshal.loads(data[head:])
    return _state(values) if key == engine_key() else None


def save_state(path: Path, state: State) -> None:
    """Write the state, whole or not at all; a folder that cannot be written to is left alone."""
    payload = marshal.dumps((engine_key(), _values(state)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            file.write(_MAGIC + _hash(payload) + payload)
        os.replace(file.name, path)
        kept = sorted(path.parent.glob("*.kept"), key=lambda each: each.stat().st_mtime)
        for each in kept[:-MAX_FILES]:
            each.unlink(missing_ok=True)
    except OSError:
        return


def engine_key() -> str:
    """A hash of the engine's source and of what it parses with."""
    from markdown_it import __version__

    made = hashlib.blake2b(f"{sys.version} {__version__}".encode(), digest_size=16)
    folder = Path(__file__).parent
    for path in (folder.parent / "findings.py", *sorted(folder.glob("*.py"))):
        made.update(path.read_bytes())
    return made.hexdigest()


def _hash(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()


def _values(state: State) -> tuple[Any, ...]:
    young = time.time_ns() - _RECENT
    return (
        state.languages,
        tuple(state.files),
        tuple(map(_plain, state.listed)),
        {note_id: stamp for note_id, stamp in state.stamps.items() if stamp[0] < young},
        [tuple(trace) for trace in state.traces.values()],
        *(
            {note_id: [_plain(f) for f in found] for note_id, found in kept.items()}
            for kept in (state.of_links, state.of_parity)
        ),
    )


def _state(values: tuple[Any, ...]) -> State:
    languages, files, listed, stamps, traces, of_links, of_parity = values
    return State(
        languages=languages,
        files=frozenset(files),
        listed=tuple(map(_finding, listed)),
        stamps=stamps,
        traces={row[0]: Trace._make(row) for row in traces},
        of_links=_findings(of_links),
        of_parity=_findings(of_parity),
    )


def _plain(finding: Finding) -> tuple[Any, ...]:
    fix = finding.fix
    return (
        *(finding.path, finding.line, finding.column, finding.code, finding.message, finding.hint),
        str(finding.severity),
        finding.end_column,
        (fix.start, fix.end, fix.text) if fix else None,
    )


def _finding(row: tuple[Any, ...]) -> Finding:
    path, line, column, code, message, hint, severity, end, fix = row
    made = Fix(*fix) if fix else None
    return Finding(path, line, column, code, message, hint, Severity(severity), end, made)


def _findings(rows: Mapping[Any, list[Any]]) -> dict[Any, list[Finding]]:
    return {note_id: [_finding(row) for row in found] for note_id, found in rows.items()}
