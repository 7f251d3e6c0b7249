"""Whether every tie of every concept holds, without importing any of the code it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from ssm_tools.concepts.coverage import uncovered
from ssm_tools.concepts.marks import check_notes
from ssm_tools.concepts.model import LANGUAGES, Concept, Tie
from ssm_tools.concepts.papers import load_papers
from ssm_tools.concepts.report import TestReport, current_report
from ssm_tools.concepts.rows import rows_are_stale, rows_path
from ssm_tools.concepts.symbols import locate_symbol
from ssm_tools.concepts.test_ids import locate_test
from ssm_tools.concepts.trained import trained_row
from ssm_tools.findings import Finding, Severity
from ssm_tools.notes import Vault
from ssm_tools.run import declared, load_labels


@dataclass(frozen=True)
class Known:
    """What the ties are checked against, read once."""

    root: Path
    concepts: Mapping[str, Concept]
    snippets: frozenset[str]
    papers: frozenset[str]
    report: TestReport | None = None


Check = Callable[[Known, Concept], Iterator[Finding]]


def verify(
    root: Path, concepts: Mapping[str, Concept], vault: Vault | None = None
) -> list[Finding]:
    """Return a finding for every tie that does not hold, in the order of files and lines.

    With the project's `vault`, what the notes say of concepts, claims, works and snippets is
    checked as well.
    """
    findings: list[Finding] = []
    papers: frozenset[str] = frozenset()
    try:
        papers = frozenset(load_papers(root))
    except ValueError as error:
        findings.append(Finding("docs/papers.yml", 1, 1, "C014", str(error)))
    try:
        load_labels(root)
    except ValueError as error:
        findings.append(Finding("docs/labels.yml", 1, 1, "S021", str(error)))
    snippets = frozenset(snippet.id for snippet in declared(root, vault))
    known = Known(root, concepts, snippets, papers, current_report(root))
    checks: tuple[Check, ...] = (
        _symbols,
        _tests,
        _snippets,
        _notes,
        _papers,
        _measured,
        _trained,
        _requires,
    )
    for concept in concepts.values():
        for check in checks:
            findings += check(known, concept)
    findings += _cycles(concepts)
    findings += uncovered(root, concepts)
    if vault is not None:
        findings += check_notes(root, vault, concepts, snippets, papers)
    return sorted(set(findings), key=lambda finding: (finding.path, finding.line, finding.column))


def _at(concept: Concept, tie: Tie, code: str, message: str, hint: str = "") -> Finding:
    return Finding(concept.path, tie.line, tie.column, code, message, hint)


def _symbols(known: Known, concept: Concept) -> Iterator[Finding]:
    kernels = (kernel.symbol for kernel in concept.kernels)
    for tie in (*concept.implementation, *concept.symbols, *kernels):
        if locate_symbol(known.root, tie) is None:
            yield _at(concept, tie, "C010", f"there is no symbol {tie}")


def _tests(known: Known, concept: Concept) -> Iterator[Finding]:
    parity = (kernel.parity for kernel in concept.kernels)
    evidence = (claim.evidence for claim in concept.claims if claim.kind == "test")
    for tie in (*concept.tests, *parity, *evidence):
        if locate_test(known.root, tie) is None:
            yield _at(concept, tie, "C011", f"there is no test {tie}")
        elif known.report is not None:
            state = known.report.state(tie)
            if state.failed:
                yield _at(concept, tie, "C020", f"the test failed in this tree: {tie}")
            elif state.skipped and not state.ran:
                yield _at(concept, tie, "C020", f"the test was skipped in this tree: {tie}")
            elif not state.ran and known.report.whole:
                yield _at(concept, tie, "C020", f"the test did not run in this tree: {tie}")


def _snippets(known: Known, concept: Concept) -> Iterator[Finding]:
    evidence = (c.evidence for c in concept.claims if c.kind == "snippet")
    for tie in (*concept.snippet_ids, *map(concept.snippet_id, evidence)):
        if tie not in known.snippets:
            hint = _like(tie, known.snippets)
            yield _at(concept, tie, "C012", f"there is no snippet {tie}", hint)


def _notes(known: Known, concept: Concept) -> Iterator[Finding]:
    for language in LANGUAGES:
        if not (known.root / concept.note(language)).is_file():
            message = f"the concept has no note {concept.note(language)}"
            yield _at(concept, concept.family, "C013", message)


def _papers(known: Known, concept: Concept) -> Iterator[Finding]:
    evidence = (claim.evidence for claim in concept.claims if claim.kind == "paper")
    for tie in (*concept.papers, *evidence):
        # A claim may say where in the work: "gu2023mamba, Table 4".
        key = tie.partition(",")[0].strip()
        if key not in known.papers:
            hint = _like(key, known.papers)
            yield _at(concept, tie, "C014", f"docs/papers.yml has no work {key}", hint)


def _measured(known: Known, concept: Concept) -> Iterator[Finding]:
    evidence = (claim.evidence for claim in concept.claims if claim.kind == "measurement")
    for tie in (*concept.measurements, *evidence):
        if not rows_path(known.root, tie).is_file():
            path = rows_path(known.root, tie).relative_to(known.root).as_posix()
            yield _at(concept, tie, "C019", f"there are no measured rows {path}")
    yield from stale_measurements(known.root, concept)


def _trained(known: Known, concept: Concept) -> Iterator[Finding]:
    for tie in concept.trained:
        if trained_row(known.root, tie) is None:
            name, _, variant = tie.partition("/")
            of = f" of the variant {variant}" if variant else ""
            message = f"docs/experiments/{name}.jsonl has no record{of}"
            hint = f"python -m ssm_ref train docs/experiments/{name}.toml --record …"
            yield _at(concept, tie, "C024", message, hint)


def stale_measurements(root: Path, concept: Concept) -> Iterator[Finding]:
    """Yield a hint for each tie to rows that were measured on other sources: pages mark them."""
    evidence = (claim.evidence for claim in concept.claims if claim.kind == "measurement")
    for tie in (*concept.measurements, *evidence):
        if rows_are_stale(root, tie):
            message = f"the rows of {tie} were measured on other sources than those of this tree"
            hint = f"on a GPU: python -m ssm_kernels.bench {tie}"
            finding = _at(concept, tie, "C022", message, hint)
            yield replace(finding, severity=Severity.HINT)


def _requires(known: Known, concept: Concept) -> Iterator[Finding]:
    for tie in concept.requires:
        if tie not in known.concepts:
            hint = _like(tie, known.concepts)
            yield _at(concept, tie, "C015", f"there is no concept {tie}", hint)


def _cycles(concepts: Mapping[str, Concept]) -> Iterator[Finding]:
    """Yield one finding for each circle of prerequisites, at the tie that closes it."""
    done: set[str] = set()

    def visit(slug: str, path: list[str]) -> Iterator[Finding]:
        for tie in concepts[slug].requires:
            if tie in path:
                circle = " → ".join([*path[path.index(tie) :], tie])
                message = f"prerequisites form a circle: {circle}"
                yield _at(concepts[slug], tie, "C016", message)
            elif tie in concepts and tie not in done:
                yield from visit(tie, [*path, tie])
        done.add(slug)

    for slug in concepts:
        if slug not in done:
            yield from visit(slug, [slug])


def _like(name: str, known: Mapping[str, object] | frozenset[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""
