"""`ssm-notes stats`: counts of notes and links, ghosts, orphans, the most central notes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "print counts of notes and links, ghost notes, orphans, the most central notes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--vault", type=Path, default=Path("docs"), metavar="DIR")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Print the figures."""
    from ssm_tools.notes.graph import resolve_all
    from ssm_tools.notes.graph_formats import figures
    from ssm_tools.notes.vault import load_vault

    try:
        vault = load_vault(args.vault)
    except NotADirectoryError as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        return 2
    data = figures(vault, resolve_all(vault))
    if args.format == "json":
        print(json.dumps(data, ensure_ascii=False, indent=1))
        return 0
    for name, value in data.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, number in list(value.items())[:20]:
                print(f"  {number}  {key}")
        elif isinstance(value, list):
            print(f"{name}: {', '.join(value) or 'none'}")
        else:
            print(f"{name}: {value}")
    return 0
