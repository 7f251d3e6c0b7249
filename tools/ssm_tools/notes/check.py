"""Everything that is wrong in a vault, each finding with its place and what repairs it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ssm_tools.findings import Finding
from ssm_tools.notes.graph import Answers, resolve_all
from ssm_tools.notes.link_findings import LinkChecker
from ssm_tools.notes.model import Note
from ssm_tools.notes.parity import parity_findings
from ssm_tools.notes.trace import trace_of
from ssm_tools.notes.vault import Vault
from ssm_tools.notes.vault_findings import vault_findings


def check_vault(
    vault: Vault, answers: Answers | None = None, *, mentions: bool = False
) -> list[Finding]:
    """Return every finding of the vault, sorted by place; paths are as a shell would open them.

    `mentions` adds hints at names that stand without a link, which reads every text once more.
    """
    answers = resolve_all(vault) if answers is None else answers
    checker = LinkChecker(vault)
    found: list[Finding] = [*vault.findings]
    for note in vault.notes.values():
        found.extend(note_findings(note))
        found.extend(checker.findings(note, answers[note.id]))
        found.extend(parity_findings(vault, note, answers))
    traces = {note.id: trace_of(note, answers[note.id]) for note in vault.notes.values()}
    found.extend(vault_findings(vault, traces, answers))
    if mentions:
        from ssm_tools.notes.prose import unlinked_mentions

        found.extend(unlinked_mentions(vault, answers))
    return in_order(located(vault, found))


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The findings sorted by place, code and message."""
    return sorted(findings, key=lambda f: (f.path, f.line, f.column, f.code, f.message))


def note_findings(note: Note) -> Iterator[Finding]:
    """Findings that a note has by itself."""
    yield from note.findings
    seen: set[str] = set()
    for block in note.blocks:
        if block.id in seen:
            message = f"block id ^{block.id} is taken in this note"
            yield Finding(note.id, block.line, block.column, "H001", message)
        seen.add(block.id)


def located(vault: Vault, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings with the vault's folder before their paths, relative to where we are."""
    prefix = shown_prefix(vault)
    for finding in findings:
        yield replace(finding, path=prefix + finding.path) if prefix else finding


def shown_prefix(vault: Vault) -> str:
    """What stands before the paths of a vault where findings are shown."""
    root = os.fspath(vault.root)
    if os.path.isabs(root):
        near = os.path.relpath(root)
        root = root if near.startswith("..") else near
    return "" if root in ("", ".") else root.rstrip("/") + "/"
