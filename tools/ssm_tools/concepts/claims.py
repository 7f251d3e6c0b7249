"""The ledger: every claim with its evidence, and whether the evidence holds as of now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssm_tools.concepts.load import load_concepts
from ssm_tools.concepts.model import Claim, Concept
from ssm_tools.concepts.report import TieState, current_report
from ssm_tools.concepts.rows import rows_are_stale, rows_path
from ssm_tools.run import Fresh, Snippet, Store, declared

ClaimState = Literal["held", "cited", "open", "failed", "stale"]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One claim as of now.

    `held`: its test passed in this tree, its snippet ran for it, or its rows were measured on it.
    `cited`: it rests on a published work. `open`: its evidence has not run for this tree.
    `stale`: what a GPU recorded or measured is of sources that moved on. `failed`: it ran and does
    not hold. `tests` says how the cases did where the evidence is a test.
    """

    concept: Concept
    claim: Claim
    state: ClaimState
    tests: TieState | None = None

    @property
    def key(self) -> str:
        """The claim's name across concepts: `mamba/what-depends-on-the-input`."""
        return f"{self.concept.slug}/{self.claim.id}"


def claims(root: Path, concepts: Mapping[str, Concept] | None = None) -> list[LedgerEntry]:
    """Return the ledger, by concept and in the order of declaration."""
    if concepts is None:
        concepts, _ = load_concepts(root)
    report, store = current_report(root), Store(root)
    ran = {one.id: _ran(store, one) for one in declared(root)}
    found = []
    for concept in concepts.values():
        for claim in concept.claims:
            tests = report.state(claim.evidence) if report and claim.kind == "test" else None
            found.append(
                LedgerEntry(concept, claim, _state(root, concept, claim, tests, ran), tests)
            )
    return found


def _state(
    root: Path,
    concept: Concept,
    claim: Claim,
    tests: TieState | None,
    ran: Mapping[str, ClaimState],
) -> ClaimState:
    match claim.kind:
        case "test":
            if tests is not None and tests.failed:
                return "failed"
            return "held" if tests is not None and tests.holds else "open"
        case "snippet":
            return ran.get(concept.snippet_id(claim.evidence), "open")
        case "measurement":
            if not rows_path(root, claim.evidence).is_file():
                return "open"
            return "stale" if rows_are_stale(root, claim.evidence) else "held"
        case "paper":
            return "cited"


def _ran(store: Store, snippet: Snippet) -> ClaimState:
    """Return the state of a claim that rests on a snippet: for a GPU, on what was recorded."""
    found = store.lookup(snippet)
    if not isinstance(found, Fresh):
        return "open"
    if snippet.options.device != "cuda":
        return "held"
    recorded = found.result.recorded
    if recorded is None:
        return "open"
    return "stale" if recorded.stale else "held"
