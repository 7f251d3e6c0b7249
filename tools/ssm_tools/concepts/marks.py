"""What notes say of concepts, claims, works, snippets and code, held to what is declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from ssm_tools.concepts.model import Concept
from ssm_tools.concepts.paths import path_findings
from ssm_tools.concepts.rows import rows_path
from ssm_tools.concepts.symbols import locate_symbol
from ssm_tools.findings import Finding, Severity
from ssm_tools.notes import Note, Vault


def check_notes(
    root: Path,
    vault: Vault,
    concepts: Mapping[str, Concept],
    snippets: frozenset[str],
    papers: frozenset[str],
) -> list[Finding]:
    """Return a finding for every mark, citation or inclusion of a note that leads to nothing."""
    findings: list[Finding] = []
    exists: dict[str, tuple[str, Callable[[str], bool]]] = {
        "snippet": ("C012", snippets.__contains__),
        "source": ("C010", lambda symbol: locate_symbol(root, symbol) is not None),
        "measurements": ("C019", lambda name: rows_path(root, name).is_file()),
    }
    for note in vault.notes.values():
        findings += _concept(root, note, concepts)
        findings += _claims(root, note, concepts)
        for citation in note.citations:
            if citation.key not in papers:
                message = f"docs/papers.yml has no work {citation.key}"
                hint = _like(citation.key, papers)
                place = (citation.line, citation.column)
                findings.append(Finding(_path(root, note), *place, "C014", message, hint))
        for fence in note.fences:
            kind, _, name = fence.info.partition(" ")
            code, check = exists.get(kind, ("", lambda name: True))
            if not check(name.strip()):
                message = f"there is no {kind} {name.strip()}"
                hint = _like(name.strip(), snippets) if kind == "snippet" else ""
                place = (fence.line, fence.column)
                findings.append(Finding(_path(root, note), *place, code, message, hint))
    findings += path_findings(root, vault, concepts)
    return findings + list(_unequal_claims(root, vault, concepts))


def _concept(root: Path, note: Note, concepts: Mapping[str, Concept]) -> Iterator[Finding]:
    slug = note.concept
    if slug and slug not in concepts:
        hint = _like(slug, frozenset(concepts))
        yield Finding(_path(root, note), 1, 1, "C021", f"there is no concept {slug}", hint)
    elif slug and _path(root, note) != concepts[slug].note(note.language):
        message = f"the concept {slug} belongs to {concepts[slug].note(note.language)}"
        yield Finding(_path(root, note), 1, 1, "C021", message)


def _claims(root: Path, note: Note, concepts: Mapping[str, Concept]) -> Iterator[Finding]:
    for mark in note.claims:
        slug = mark.concept or note.concept
        declared = [claim.id for claim in concepts[slug].claims] if slug in concepts else []
        if mark.claim not in declared:
            message = f"{slug or 'this note'} declares no claim {mark.claim}"
            hint = _like(mark.claim, frozenset(declared))
            place = (mark.line, mark.column)
            yield Finding(_path(root, note), *place, "K001", message, hint)


def _unequal_claims(root: Path, vault: Vault, concepts: Mapping[str, Concept]) -> Iterator[Finding]:
    """Yield claims that one language's note marks and the other's does not."""
    for note in vault.notes.values():
        for other in vault.translations(note).values():
            marked = {(mark.concept or other.concept, mark.claim) for mark in other.claims}
            for mark in note.claims:
                if (mark.concept or note.concept, mark.claim) not in marked:
                    message = f"the claim {mark.claim} is not marked in {_path(root, other)}"
                    place = (mark.line, mark.column)
                    yield Finding(
                        _path(root, note), *place, "K003", message, severity=Severity.WARNING
                    )
    for concept in concepts.values():
        for language in vault.languages:
            name = concept.note(language).removeprefix("docs/")
            found = next((note for note in vault.notes.values() if note.id == name), None)
            marked_here = {mark.claim for mark in found.claims} if found else set()
            for claim in concept.claims if found else ():
                if claim.id not in marked_here:
                    message = f"no sentence of docs/{name} carries the claim {claim.id}"
                    place = (claim.id.line, claim.id.column)
                    yield Finding(concept.path, *place, "K002", message, severity=Severity.HINT)


def _path(root: Path, note: Note) -> str:
    return note.path.resolve().relative_to(root.resolve()).as_posix()


def _like(name: str, known: frozenset[str]) -> str:
    close = get_close_matches(name, sorted(known), n=1)
    return f"did you mean {close[0]}?" if close else ""
