"""Concepts and their ties: what docs/concepts declares, checked against code, tests and notes."""

from pathlib import Path

from ssm_tools.concepts.claims import LedgerEntry, claims
from ssm_tools.concepts.coverage import owners
from ssm_tools.concepts.equations import equation_lines
from ssm_tools.concepts.load import FOLDER, load_concepts
from ssm_tools.concepts.model import LANGUAGES, Claim, Concept, Kernel, Tie
from ssm_tools.concepts.papers import Paper, load_papers
from ssm_tools.concepts.release import check_release
from ssm_tools.concepts.report import TestReport, TieState, current_report, read_report
from ssm_tools.concepts.sources import source_hash
from ssm_tools.concepts.symbols import SymbolPlace, code_held, locate_symbol, public_symbols
from ssm_tools.concepts.test_ids import locate_test
from ssm_tools.concepts.trained import trained_row
from ssm_tools.concepts.verify import verify
from ssm_tools.findings import Finding
from ssm_tools.notes import Vault, load_vault


def check_project(root: Path, vault: Vault | None = None) -> list[Finding]:
    """Return every finding about a project's concepts; none where there is no docs/concepts.

    Pass the project's vault where it is loaded already: it is read here otherwise.
    """
    if not (root / FOLDER).is_dir():
        return []
    concepts, findings = load_concepts(root)
    return findings + verify(root, concepts, vault or load_vault(root / "docs"))


__all__ = [
    "LANGUAGES",
    "Claim",
    "Concept",
    "Kernel",
    "LedgerEntry",
    "Paper",
    "SymbolPlace",
    "TestReport",
    "Tie",
    "TieState",
    "check_project",
    "check_release",
    "claims",
    "code_held",
    "current_report",
    "equation_lines",
    "load_concepts",
    "load_papers",
    "locate_symbol",
    "locate_test",
    "owners",
    "public_symbols",
    "read_report",
    "source_hash",
    "trained_row",
    "verify",
]
