"""Snippets that ran for this build: declared in files and notes, run apart, kept while they hold.

The site and the tests use four names: `declared` lists the snippets of a project, `run_snippets`
runs those that are not fresh, `lookup` reads one result without running anything, and `Outcome`
says how one run ended.
"""

from pathlib import Path

from ssm_tools.run.declared import declared
from ssm_tools.run.executor import (
    NoSuchSnippetError,
    Outcome,
    Settings,
    run_snippets,
    select,
    update_expectations,
)
from ssm_tools.run.labels import LabelsError, load_labels
from ssm_tools.run.recorded import check_recorded
from ssm_tools.run.results import Output, Recorded, Result
from ssm_tools.run.snippets import Cell, Options, Snippet, parse_options
from ssm_tools.run.store import Fresh, NotRun, Stale, Store


def lookup(root: Path, snippet: Snippet) -> Fresh | Stale | NotRun:
    """Return the result to show for a snippet, or why there is none that counts; runs nothing.

    For many snippets make one `Store` and ask it: it reads each file once.
    """
    return Store(root).lookup(snippet)


__all__ = [
    "Cell",
    "Fresh",
    "LabelsError",
    "NoSuchSnippetError",
    "NotRun",
    "Options",
    "Outcome",
    "Output",
    "Recorded",
    "Result",
    "Settings",
    "Snippet",
    "Stale",
    "Store",
    "check_recorded",
    "declared",
    "load_labels",
    "lookup",
    "parse_options",
    "run_snippets",
    "select",
    "update_expectations",
]
