"""`ssm-notes new FAMILY/SLUG`: every file of a concept; `new PATH`: a note in each language."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "create a concept (family/slug) with its notes, ties, code and test; or a note (any path)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("path", help="selective/mamba: a concept; ssm/topics/history: a note")
    parser.add_argument("--title", help="the name readers see; the slug without underscores else")
    parser.add_argument("--vault", type=Path, default=Path("docs"), metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Create the files; nothing is overwritten."""
    from ssm_tools.notes.scaffold import FAMILIES, concept_files, note_files
    from ssm_tools.notes.vault import list_vault

    path = args.path.strip("/")
    folder, _, slug = path.rpartition("/")
    title = args.title or slug.removesuffix(".md").replace("_", " ").capitalize()
    try:
        if folder in FAMILIES:
            root = args.vault.parent
            files = {
                (root / name).as_posix(): text
                for name, text in concept_files(folder, slug, title).items()
            }
        else:
            if not args.vault.is_dir():
                raise ValueError(f"no vault at {args.vault}: not a folder")
            languages = list_vault(args.vault, None).languages
            files = note_files(args.vault, languages, path, title)
        taken = [name for name in files if Path(name).exists()]
        if taken:
            raise ValueError(f"{taken[0]} is there already; nothing was written")
    except ValueError as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        return 2
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
        print(name)
    return 0
