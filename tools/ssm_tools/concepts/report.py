"""build/tests.json: what each test did, for the tree that it ran on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PATH = Path("build") / "tests.json"


@dataclass(frozen=True, slots=True)
class TieState:
    """How the cases of one tied test did."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def ran(self) -> int:
        """How many cases ran to an end."""
        return self.passed + self.failed

    @property
    def holds(self) -> bool:
        """Whether something passed and nothing failed."""
        return self.passed > 0 and self.failed == 0


@dataclass(frozen=True, slots=True)
class TestReport:
    """Outcomes by node id, the hash of the sources they are about, and whether all tests ran."""

    __test__ = False

    source_hash: str
    tests: Mapping[str, Mapping[str, object]]
    whole: bool

    def state(self, tie: str) -> TieState:
        """Return how the cases of a tie did: a file, a class, a test or one case."""
        counts = {"passed": 0, "failed": 0, "skipped": 0}
        seconds = 0.0
        for name, test in self.tests.items():
            if name == tie or name.startswith((f"{tie}::", f"{tie}[")):
                outcome = str(test["outcome"])
                counts[{"xpassed": "passed", "xfailed": "skipped"}.get(outcome, outcome)] += 1
                seconds += float(str(test["seconds"]))
        return TieState(**counts, seconds=seconds)


def read_report(root: Path) -> TestReport | None:
    """Return the last report, of whatever tree, or None."""
    path = root / PATH
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return TestReport(data["source_hash"], data["tests"], data.get("whole", False))
    except (ValueError, KeyError, TypeError):
        return None


def current_report(root: Path) -> TestReport | None:
    """Return the report if it is about the tree as it is now."""
    from ssm_tools.concepts.sources import source_hash

    report = read_report(root)
    return report if report is not None and report.source_hash == source_hash(root) else None
