"""Collects one test item for each declared snippet; it runs, or its kept result still holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ssm_tools.run import Outcome, Snippet, Store, declared
from ssm_tools.run.client import Client
from ssm_tools.run.executor import run_with

CLIENT = pytest.StashKey[Client]()


class SnippetFailedError(Exception):
    """A snippet without a result."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("\n".join(str(finding) for finding in outcome.findings))
        self.outcome = outcome


class SnippetItem(pytest.Item):
    """One snippet: passes when it has a result, fails at its own path and line."""

    def __init__(self, *, snippet: Snippet, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.snippet = snippet

    def runtest(self) -> None:
        client = self.config.stash.setdefault(CLIENT, Client(self.config.rootpath))
        store = Store(self.config.rootpath)
        (outcome,) = run_with(client, [self.snippet], store)
        if outcome.findings:
            raise SnippetFailedError(outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:
        if isinstance(excinfo.value, SnippetFailedError):
            return f"{excinfo.value}\n{excinfo.value.outcome.excerpt}"
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.config.rootpath / self.snippet.path, self.snippet.line - 1, self.snippet.id


class SnippetModule(pytest.Module):
    """Stands in for test_snippets.py: its items are the snippets of the project."""

    def collect(self) -> Iterator[pytest.Item]:
        for snippet in declared(self.config.rootpath):
            yield SnippetItem.from_parent(self, name=snippet.id, snippet=snippet)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    return SnippetModule.from_parent(parent, path=module_path)


def pytest_unconfigure(config: pytest.Config) -> None:
    if CLIENT in config.stash:
        config.stash[CLIENT].close()
