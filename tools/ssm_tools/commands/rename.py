"""`ssm-notes rename`: a note, folder, heading or block, with every link to it, in all languages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "rename a note, folder, note#heading or note#^block; rewrite links, write the redirect"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("old", help="ssm/selective/mamba, ssm/vision, mamba#why, mamba#^block")
    parser.add_argument("new", help="the new path or name; the new text or id of a heading")
    parser.add_argument("--vault", type=Path, default=Path("docs"), metavar="DIR")
    parser.add_argument("--dry-run", action="store_true", help="say what would change")


def run(args: argparse.Namespace) -> int:
    """Rename, or say why not."""
    from ssm_tools.notes.redirects import apply_plan
    from ssm_tools.notes.rename import RenameError, plan_rename
    from ssm_tools.notes.vault import load_vault

    try:
        vault = load_vault(args.vault)
        prefix = f"{args.vault.as_posix()}/"
        old, new = args.old.removeprefix(prefix), args.new.removeprefix(prefix)
        plan = plan_rename(vault, old, new)
    except (NotADirectoryError, RenameError) as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        return 2
    for before, after in plan.moves.items():
        print(f"{before} -> {after}")
    for path in (*plan.texts, *plan.files):
        print(f"{path}: rewritten")
    print(f"{len(plan.moves)} files moved, {plan.links} links rewritten")
    if plan.left:
        print("left, since imports and ties name them: " + ", ".join(plan.left))
    if not args.dry_run:
        apply_plan(vault, plan)
    return 0
