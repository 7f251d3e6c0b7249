"""`ssm-notes run`: run the snippets that are not fresh."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

HELP = "run the snippets that are not fresh, and keep what they show"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("names", nargs="*", metavar="SLUG", help="pages or snippets; default: all")
    parser.add_argument("--no-cache", action="store_true", help="run everything")
    parser.add_argument("--update", action="store_true", help="rewrite expected output (#> lines)")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="list the N slowest")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="processes at a time")
    parser.add_argument("--root", type=Path, default=Path(), help="the project; default: here")


def run(args: argparse.Namespace) -> int:
    """Run; return 0 when every snippet has a result, 1 when some failed, 2 for misuse."""
    from ssm_tools.run import (
        NoSuchSnippetError,
        Outcome,
        Settings,
        run_snippets,
        update_expectations,
    )

    start = time.perf_counter()

    def report(outcome: Outcome) -> None:
        for finding in outcome.findings:
            print(finding)
        if outcome.excerpt:
            print(outcome.excerpt)

    settings = Settings(cache=not args.no_cache, jobs=args.jobs)
    try:
        outcomes = run_snippets(args.root.resolve(), args.names, settings, report)
    except NoSuchSnippetError as error:
        print(f"ssm-notes run: {error}", file=sys.stderr)
        return 2
    failures = [outcome for outcome in outcomes if outcome.findings]
    if args.update:
        for path, changed in update_expectations(args.root.resolve(), failures).items():
            print(f"rewrote {len(changed)} expectation(s) in {path}; run again to check")
    if args.slowest:
        done = [outcome.result for outcome in outcomes if outcome.result is not None]
        for result in sorted(done, key=lambda result: -result.seconds)[: args.slowest]:
            print(f"{result.seconds:8.2f} s  {result.snippet}")
    cached = sum(outcome.cached for outcome in outcomes)
    print(
        f"{len(outcomes)} snippets: {len(outcomes) - cached - len(failures)} ran, "
        f"{cached} fresh, {len(failures)} failed ({time.perf_counter() - start:.1f} s)"
    )
    return 1 if failures else 0
