"""`ssm-notes check`: what is wrong with the notes and links, and what was probably meant."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssm_tools.findings import Finding
    from ssm_tools.notes.vault import Vault

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


def run(args: argparse.Namespace) -> int:
    """Check the vault and print what was found."""
    from ssm_tools.findings import Severity
    from ssm_tools.notes.check import check_vault, in_order
    from ssm_tools.notes.graph import resolve_all
    from ssm_tools.notes.report import render
    from ssm_tools.notes.vault import load_vault

    languages = tuple(args.languages.split(",")) if args.languages else None
    try:
        vault = load_vault(args.vault, languages)
    except NotADirectoryError as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        return 2
    if args.fix:
        from ssm_tools.notes.fixes import fix_vault

        for path, count in fix_vault(vault).items():
            print(f"{path}: {count} repaired", file=sys.stderr)
        vault = load_vault(args.vault, languages)
    answers = resolve_all(vault)
    findings = in_order([*check_vault(vault, answers, mentions=args.hints), *ties(vault)])
    sys.stdout.write(render(args.format, vault, answers, findings, hints=args.hints))
    return int(any(finding.severity is not Severity.HINT for finding in findings))


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
