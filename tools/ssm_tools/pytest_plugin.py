"""pytest plugin: keeps the outcome of every test in build/tests.json, for the tree that it ran on.

Load it by `-p ssm_tools.pytest_plugin`. A run of some of the tests adds to what is known about
the same sources; an edit to any of them begins anew. Only a run of all of `tests` can tell that a
test did not run, and it fails when the snippets that ran are not those that the project declares.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ssm_tools.concepts.report import PATH, read_report
from ssm_tools.concepts.sources import source_hash

SNIPPETS = "tests/snippets/test_snippets.py"
WORST = ("passed", "xpassed", "xfailed", "skipped", "failed")


@dataclass(eq=False)
class OutcomeKeeper:
    """Collects the phases of every test into one outcome each."""

    root: Path
    before: str
    whole: bool
    tests: dict[str, dict[str, object]] = field(default_factory=dict)
    unequal: frozenset[str] = frozenset()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst phase of a test and the time of all."""
        known = self.tests.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0})
        outcome: str = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        known["outcome"] = max(str(known["outcome"]), outcome, key=WORST.index)
        known["seconds"] = round(float(str(known["seconds"])) + report.duration, 3)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, unless the sources changed while the tests ran."""
        if not self.tests or source_hash(self.root) != self.before:
            return
        if self.whole and session.exitstatus == pytest.ExitCode.OK:
            self.unequal = self._unequal_snippets()
            if self.unequal:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self._write()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the snippets that were declared and did not run, or ran undeclared."""
        for name in sorted(self.unequal):
            terminalreporter.write_line(f"S019 declared and run are not the same: snippet {name}")

    def _unequal_snippets(self) -> frozenset[str]:
        if not (self.root / SNIPPETS).is_file():
            return frozenset()
        from ssm_tools.run import declared

        ran = {
            name.partition("::")[2]
            for name, test in self.tests.items()
            if name.startswith(f"{SNIPPETS}::") and test["outcome"] == "passed"
        }
        return frozenset(ran ^ {snippet.id for snippet in declared(self.root)})

    def _write(self) -> None:
        last = read_report(self.root)
        known: Mapping[str, object] = {}
        whole = self.whole
        if last is not None and last.source_hash == self.before:
            known, whole = last.tests, whole or last.whole
        path = self.root / PATH
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False
        ) as file:
            tests = {**known, **self.tests}
            json.dump({"source_hash": self.before, "whole": whole, "tests": tests}, file, indent=0)
        os.replace(file.name, path)


def pytest_configure(config: pytest.Config) -> None:
    """Keep outcomes in the process that sees all reports: not in the workers of xdist."""
    root = config.rootpath
    if not hasattr(config, "workerinput") and (root / "docs").is_dir():
        keeper = OutcomeKeeper(root, source_hash(root), _runs_all(config))
        config.pluginmanager.register(keeper, "ssm-outcomes")


def _runs_all(config: pytest.Config) -> bool:
    """Whether the command line names the whole of `tests` and takes nothing out by name."""
    asked = {(config.invocation_params.dir / arg).resolve() for arg in config.args}
    chosen = config.option.keyword or getattr(config.option, "lf", False)
    return config.rootpath / "tests" in asked and not chosen
