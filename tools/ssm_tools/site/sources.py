"""Read everything the site is made from, and say what keeps it from being built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ssm_tools.concepts import claims, code_held, current_report, load_concepts, load_papers, verify
from ssm_tools.findings import Finding, Severity
from ssm_tools.notes import backlinks, build_graph, check_vault, load_vault, resolve_all
from ssm_tools.run import Fresh, NotRun, Snippet, Stale, declared
from ssm_tools.site.config import SiteConfig
from ssm_tools.site.model import Sources, read_glossary


def read_sources(config: SiteConfig) -> tuple[Sources, list[Finding]]:
    """Return what the site is made from, and the findings that stop a strict build.

    Raises:
        NotADirectoryError: there is no folder of notes.
    """
    vault = load_vault(config.vault)
    answers = resolve_all(vault)
    findings = check_vault(vault, answers)
    sources = Sources(
        config, vault, answers, backlinks(vault, answers), build_graph(vault, answers)
    )
    if not config.project:
        return sources, _serious(findings)
    root = config.root
    concepts, problems = load_concepts(root)
    with code_held(root):
        findings += problems + verify(root, concepts, vault)
    snippets = {snippet.id: snippet for snippet in declared(root, vault)}
    sources = replace(
        sources,
        concepts=concepts,
        papers=load_papers(root),
        ledger=tuple(claims(root, concepts)),
        report=current_report(root),
        snippets=snippets,
        glossary=read_glossary(root),
    )
    findings += _unready(sources)
    return sources, _serious(sorted(set(findings), key=lambda f: (f.path, f.line, f.column)))


def _serious(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is not Severity.HINT]


def _unready(sources: Sources) -> Iterator[Finding]:
    """Snippets whose result is missing or no longer counts."""
    for snippet in sources.snippets.values():
        yield from snippet.problems
        if not snippet.problems and (why := _why_not(sources, snippet)):
            yield Finding(
                snippet.path, snippet.line, 1, "B001", f"snippet {snippet.id}: {why}",
                f"run `ssm-notes run {snippet.page}`",
            )  # fmt: skip


def _why_not(sources: Sources, snippet: Snippet) -> str:
    match sources.store.lookup(snippet):
        case Fresh():
            return ""
        case Stale(why=why):
            return f"its result is stale: {why}"
        case NotRun():
            return "it has no result"
