"""Apply the repairs that findings carry."""

from __future__ import annotations

from collections import defaultdict

from ssm_tools.notes.check import check_vault, shown_prefix
from ssm_tools.notes.edits import rewrite
from ssm_tools.notes.model import NoteId
from ssm_tools.notes.vault import Vault


def fix_vault(vault: Vault) -> dict[NoteId, int]:
    """Write every repair of a warning or error into its note; return how many for each note."""
    edits: dict[str, set[tuple[int, int, str]]] = defaultdict(set)
    for finding in check_vault(vault):
        if finding.fix is not None and finding.severity != "hint":
            fix = finding.fix
            edits[finding.path].add((fix.start, fix.end, fix.text))
    repaired: dict[NoteId, int] = {}
    prefix = shown_prefix(vault)
    for shown, changes in edits.items():
        note = vault.notes[NoteId(shown.removeprefix(prefix))]
        write_text(note.path, rewrite(note.text, apart(changes)))
        repaired[note.id] = len(changes)
    return repaired


def apart(edits: set[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Those edits that do not overlap one before them."""
    kept: list[tuple[int, int, str]] = []
    for edit in sorted(edits):
        if not kept or edit[0] >= kept[-1][1]:
            kept.append(edit)
    return kept


def write_text(path: object, text: str) -> None:
    """Write a note's text with its own line ends and byte order mark."""
    with open(str(path), "w", encoding="utf-8", newline="") as file:
        file.write(text)
