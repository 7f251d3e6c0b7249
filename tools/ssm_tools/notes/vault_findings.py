"""Findings that need the whole vault: translations, names that collide, orphans, circles."""

from __future__ import annotations

from collections.abc import Iterator

from ssm_tools.findings import Finding
from ssm_tools.notes.codes import CODES
from ssm_tools.notes.graph import Answers
from ssm_tools.notes.model import Note
from ssm_tools.notes.vault import Vault


def vault_findings(vault: Vault, answers: Answers) -> Iterator[Finding]:
    """Findings of the vault as a whole."""
    yield from _untranslated(vault)


def _untranslated(vault: Vault) -> Iterator[Finding]:
    for note in vault.notes.values():
        others = vault.translations(note)
        for language in vault.languages:
            if language != note.language and language not in others:
                message = f"no translation {language}/{note.key}"
                yield at(note, 1, 1, "T001", message)


def at(note: Note, line: int, column: int, code: str, message: str, hint: str = "") -> Finding:
    """A finding of the severity that its code has."""
    return Finding(note.id, line, column, code, message, hint, CODES[code].severity)
