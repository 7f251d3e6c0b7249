"""`ssm-notes run`: run the snippets that are not fresh."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssm_tools.findings import Finding
    from ssm_tools.run import Outcome

HELP = "run the snippets that are not fresh, and keep what they show"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("names", nargs="*", metavar="SLUG", help="pages or snippets; default: all")
    parser.add_argument("--no-cache", action="store_true", help="run everything")
    parser.add_argument("--update", action="store_true", help="rewrite expected output (#> lines)")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="list the N slowest")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="processes at a time")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to run")
    parser.add_argument("--record", action="store_true", help="keep what the GPU shows, to commit")
    parser.add_argument("--commit", default="", help="commit of the tree, where git is absent")
    parser.add_argument("--release", action="store_true", help="fail on stale GPU results")
    parser.add_argument("--root", type=Path, default=Path(), help="the project; default: here")


def run(args: argparse.Namespace) -> int:
    """Run; return 0 when every snippet has a result, 1 when some failed, 2 for misuse."""
    from ssm_tools.run import (
        LabelsError,
        NoSuchSnippetError,
        Settings,
        run_snippets,
        update_expectations,
    )

    start, root = time.perf_counter(), args.root.resolve()
    if args.record and args.device != "cuda":
        print("ssm-notes run: --record needs --device cuda", file=sys.stderr)
        return 2
    settings = Settings(cache=not args.no_cache, jobs=args.jobs, device=args.device)
    try:
        outcomes = run_snippets(root, args.names, settings, _report)
    except (NoSuchSnippetError, LabelsError) as error:
        print(f"ssm-notes run: {error}", file=sys.stderr)
        return 2
    failures = [outcome for outcome in outcomes if outcome.findings]
    if args.update:
        for path, changed in update_expectations(root, failures).items():
            print(f"rewrote {len(changed)} expectation(s) in {path}; run again to check")
    if args.record:
        _record(root, outcomes, args.commit)
    stale = _stale(root) if args.release else []
    if args.slowest:
        _slowest(outcomes, args.slowest)
    cached = sum(outcome.cached for outcome in outcomes)
    print(
        f"{len(outcomes)} snippets: {len(outcomes) - cached - len(failures)} ran, "
        f"{cached} fresh, {len(failures)} failed ({time.perf_counter() - start:.1f} s)"
    )
    return 1 if failures or stale else 0


def _stale(root: Path) -> list[Finding]:
    from ssm_tools.concepts import check_release

    findings = list(check_release(root))
    for finding in findings:
        print(finding)
    return findings


def _report(outcome: Outcome) -> None:
    for finding in outcome.findings:
        print(finding)
    if outcome.excerpt:
        print(outcome.excerpt)


def _record(root: Path, outcomes: Sequence[Outcome], commit: str) -> None:
    from ssm_tools.run.recorded import record

    for outcome in outcomes:
        if outcome.result is not None:
            path = record(root, outcome.snippet, outcome.result, commit)
            print(f"recorded {path.relative_to(root).as_posix()}")


def _slowest(outcomes: Sequence[Outcome], count: int) -> None:
    done = [outcome.result for outcome in outcomes if outcome.result is not None]
    for result in sorted(done, key=lambda result: -result.seconds)[:count]:
        print(f"{result.seconds:8.2f} s  {result.snippet}")
