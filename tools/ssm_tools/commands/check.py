"""`ssm-notes check`: what is wrong with the notes and links, and what was probably meant."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssm_tools.findings import Finding
    from ssm_tools.notes.graph import Answers
    from ssm_tools.notes.vault import Vault

MAX_PASSES = 5  # of --fix
HELP = "check the notes and their links; exit 0 clean, 1 findings, 2 misuse"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--vault", type=Path, default=Path("docs"), metavar="DIR")
    parser.add_argument(
        "--languages", metavar="A,B", help="the folders that hold one language each"
    )
    parser.add_argument("--format", choices=("text", "json", "sarif", "github"), default="text")
    parser.add_argument("--fix", action="store_true", help="repair what has one repair")
    parser.add_argument("--hints", action="store_true", help="show hints, too")
    parser.add_argument(
        "--no-cache", action="store_true", help="read every note, whatever the last check kept"
    )


def run(args: argparse.Namespace) -> int:
    """Check the vault and print what was found."""
    from ssm_tools.findings import Severity
    from ssm_tools.notes.check import in_order

    languages = tuple(args.languages.split(",")) if args.languages else None
    try:
        if args.fix:
            _fix(args.vault, languages)
        if args.format == "json" or args.hints:
            vault, found, answers = _whole(args.vault, languages, hints=args.hints)
            links = sum(map(len, answers.values()))
        else:
            vault, found, links = _kept(args.vault, languages, cache=not args.no_cache)
    except NotADirectoryError as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        return 2
    from ssm_tools.notes.report import as_json, render

    findings = in_order([*found, *ties(vault)])
    if args.format == "json":
        sys.stdout.write(as_json(vault, answers, findings))
    else:
        sys.stdout.write(render(args.format, vault, findings, links, args.hints))
    return int(any(finding.severity is not Severity.HINT for finding in findings))


def _fix(root: Path, languages: tuple[str, ...] | None) -> None:
    from ssm_tools.notes.fixes import fix_vault
    from ssm_tools.notes.vault import load_vault

    for _ in range(MAX_PASSES):  # a repair may bring to light the next one in its line
        repaired = fix_vault(load_vault(root, languages))
        for path, count in repaired.items():
            print(f"{path}: {count} repaired", file=sys.stderr)
        if not repaired:
            break


def _whole(
    root: Path, languages: tuple[str, ...] | None, *, hints: bool
) -> tuple[Vault, list[Finding], Answers]:
    """The vault with every note read: what each link means, and names without a link."""
    from ssm_tools.notes.check import check_vault
    from ssm_tools.notes.graph import resolve_all
    from ssm_tools.notes.vault import load_vault

    vault = load_vault(root, languages)
    answers = resolve_all(vault)
    return vault, check_vault(vault, answers, mentions=hints), answers


def _kept(
    root: Path, languages: tuple[str, ...] | None, *, cache: bool
) -> tuple[Vault, list[Finding], int]:
    """The vault, its findings and the number of its links, by what was kept of the last check."""
    from ssm_tools.notes.kept import WORTHWHILE, kept_path, load_state, save_state
    from ssm_tools.notes.session import Session

    path = kept_path(root, languages)
    session = Session(root, languages, load_state(path) if cache else None)
    found = session.findings()
    traces = session.state.traces
    if cache and len(traces) >= WORTHWHILE and session.changed:
        save_state(path, session.state)
    return session.vault, found, sum(trace.links for trace in traces.values())


def ties(vault: Vault) -> list[Finding]:
    """Findings of the concepts beside the notes; a vault without a `concepts` folder has none."""
    if not (vault.root / "concepts").is_dir():
        return []
    from ssm_tools.concepts import load_concepts, verify

    root = vault.root.parent
    concepts, findings = load_concepts(root)
    prefix = "" if root in (Path(), Path(".")) else f"{root.as_posix()}/"
    return [
        replace(finding, path=prefix + finding.path)
        for finding in (*findings, *verify(root, concepts, vault))
    ]
