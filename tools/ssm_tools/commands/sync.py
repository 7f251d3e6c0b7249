"""`ssm-notes sync`: say that translations are up to date with the sections they translate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "mark translations as up to date with their source (check then tells what fell behind)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("notes", nargs="*", help="paths of translations; all where none is given")
    parser.add_argument("--of", default="ru", help="the language that is translated from")
    parser.add_argument("--vault", type=Path, default=Path("docs"), metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Write the marks."""
    from ssm_tools.notes.fixes import write_text
    from ssm_tools.notes.sync import synced_text
    from ssm_tools.notes.vault import load_vault

    try:
        vault = load_vault(args.vault)
    except NotADirectoryError as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        return 2
    chosen = {path.removeprefix(f"{args.vault.as_posix()}/") for path in args.notes}
    for note in vault.notes.values():
        source = vault.translations(note).get(args.of)
        if source is None or (chosen and note.id not in chosen):
            continue
        text = synced_text(note, source)
        if text != note.text:
            write_text(note.path, text)
            print(note.id)
    return 0
