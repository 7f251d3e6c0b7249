"""Findings as text with the source line and a caret, as JSON, as SARIF, as GitHub annotations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import quote

from ssm_tools.findings import Finding, Severity
from ssm_tools.notes.check import shown_prefix
from ssm_tools.notes.codes import CODES
from ssm_tools.notes.graph import Answers
from ssm_tools.notes.model import Link, Note, NoteId, line_starts, line_text
from ssm_tools.notes.resolution import Ambiguous, Answer, External, Found, Missing
from ssm_tools.notes.vault import Vault


def render(form: str, vault: Vault, findings: Sequence[Finding], links: int, hints: bool) -> str:
    """Return the findings in one of the forms text, sarif, github; `links` is their number."""
    shown = [f for f in findings if hints or f.severity is not Severity.HINT]
    match form:
        case "sarif":
            return as_sarif(shown)
        case "github":
            return as_github(shown)
    return as_text(vault, shown, len(findings), links)


def as_text(vault: Vault, findings: Sequence[Finding], total: int, links: int) -> str:
    """One line for each finding, then the source line and a caret under the place."""
    prefix = shown_prefix(vault)
    lines: list[str] = []
    for path, found in groupby(findings, key=lambda finding: finding.path):
        note_id = NoteId(path.removeprefix(prefix))
        text = vault.text(note_id) if path.startswith(prefix) and note_id in vault.notes else ""
        starts = line_starts(text)
        for finding in found:
            lines.append(str(finding))
            if source := line_text(text, starts, finding.line):
                lines += _caret(source, finding)
    counts = Counter(str(finding.severity) for finding in findings)
    summary = ", ".join(f"{counts[s]} {s}s" for s in ("error", "warning", "hint") if counts[s])
    hidden = total - len(findings)
    more = f" ({hidden} hints: --hints)" if hidden else ""
    what = f"{len(vault.notes)} notes, {links} links: {summary or 'nothing wrong'}{more}"
    return "\n".join([*lines, what, ""])


def _caret(source: str, finding: Finding, width: int = 100) -> list[str]:
    begin = max(0, finding.column - 1 - width // 2) if len(source) > width else 0
    shown = source[begin : begin + width].replace("\t", " ")
    at = finding.column - 1 - begin
    length = max(1, min(finding.end_column - finding.column, len(shown) - at))
    return [f"    {shown}", f"    {' ' * at}{'^' * length}"]


def as_json(vault: Vault, answers: Answers, findings: Sequence[Finding]) -> str:
    """Everything: notes with their headings and blocks, each link with its answer, findings."""
    data = {
        "vault": str(vault.root),
        "languages": list(vault.languages),
        "notes": [note_record(note) for note in vault.notes.values()],
        "links": [
            link_record(note, link, answer)
            for note in vault.notes.values()
            for link, answer in zip(note.links, answers[note.id], strict=True)
        ],
        "findings": [finding_record(finding) for finding in findings],
    }
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def note_record(note: Note) -> dict[str, Any]:
    """A note as JSON."""
    return {
        "id": note.id,
        "language": note.language,
        "title": note.title,
        "aliases": list(note.aliases),
        "headings": [
            {"level": h.level, "text": h.text, "id": h.id, "line": h.line, "column": h.column}
            for h in note.headings
        ],
        "blocks": [{"id": b.id, "line": b.line, "column": b.column} for b in note.blocks],
        "citations": [c.key for c in note.citations],
        "claims": [f"{c.concept or note.concept}/{c.claim}" for c in note.claims],
    }


def link_record(note: Note, link: Link, answer: Answer) -> dict[str, Any]:
    """A link and its answer as JSON: `state` is found, missing, ambiguous or external."""
    end_line, end_column = note.place(link.end)
    record: dict[str, Any] = {
        "source": note.id,
        "line": link.line,
        "column": link.column,
        "end_line": end_line,
        "end_column": end_column,
        "start": link.start,
        "end": link.end,
        "raw": note.text[link.start : link.end],
        "kind": str(link.kind),
        "path": link.path,
        "asked_fragment": "#".join(link.fragment),
        "text": link.text,
        "relation": link.relation,
        "state": "found",
        "target": None,
        "fragment": None,
        "tier": None,
        "candidates": [],
        "why": None,
    }
    match answer:
        case Found(target, tier, fragment):
            record |= {"target": target, "fragment": fragment or None, "tier": str(tier)}
        case Missing(_, why, target):
            record |= {"state": "missing", "why": why, "target": target or None}
        case Ambiguous(targets, tier):
            record |= {"state": "ambiguous", "candidates": list(targets), "tier": str(tier)}
        case External(url):
            record |= {"state": "external", "target": url}
    return record


def finding_record(finding: Finding) -> dict[str, Any]:
    """A finding as JSON."""
    fix = finding.fix
    return {
        "path": finding.path,
        "line": finding.line,
        "column": finding.column,
        "end_column": finding.end_column or None,
        "code": finding.code,
        "severity": str(finding.severity),
        "message": finding.message,
        "hint": finding.hint or None,
        "fix": {"start": fix.start, "end": fix.end, "text": fix.text} if fix else None,
    }


_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HINT: "note"}


def as_sarif(findings: Iterable[Finding]) -> str:
    """SARIF 2.1.0, as code scanning services read it."""
    results = [
        {
            "ruleId": finding.code,
            "level": _LEVELS[finding.severity],
            "message": {"text": finding.message + (f" ({finding.hint})" if finding.hint else "")},
            "locations": [{"physicalLocation": _sarif_place(finding)}],
        }
        for finding in findings
    ]
    rules = [
        {"id": row.code, "shortDescription": {"text": row.meaning}, "help": {"text": row.repair}}
        for row in CODES.values()
    ]
    driver = {"name": "ssm-notes", "rules": rules}
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(log, ensure_ascii=False, indent=1) + "\n"


def _sarif_place(finding: Finding) -> dict[str, Any]:
    region = {"startLine": finding.line, "startColumn": finding.column}
    if finding.end_column > finding.column:
        region["endColumn"] = finding.end_column
    return {"artifactLocation": {"uri": quote(finding.path)}, "region": region}


_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HINT: "notice"}


def as_github(findings: Iterable[Finding]) -> str:
    """Workflow commands that annotate the changed lines."""
    lines = []
    for f in findings:
        place = f"file={_escaped(f.path)},line={f.line},col={f.column},title={f.code}"
        text = f.message + (f" ({f.hint})" if f.hint else "")
        lines.append(f"::{_COMMANDS[f.severity]} {place}::{_escaped(text, data=True)}")
    return "\n".join([*lines, ""]) if lines else ""


def _escaped(text: str, *, data: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text if data else text.replace(":", "%3A").replace(",", "%2C")
