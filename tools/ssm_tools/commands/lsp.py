"""`ssm-notes lsp`: the language server, over standard input and output."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "serve links, headings, concepts and snippets to an editor (Language Server Protocol)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--vault", type=Path, default=Path("docs"), metavar="DIR")
    parser.add_argument("--stdio", action="store_true", help="the only way it talks; for editors")


def run(args: argparse.Namespace) -> int:
    """Serve until the editor says goodbye."""
    try:
        from ssm_tools.notes.server import make_server
    except ModuleNotFoundError as error:
        print(f"ssm-notes: {error.name} is missing: pip install pygls", file=sys.stderr)
        return 2
    try:
        server = make_server(args.vault)
    except NotADirectoryError as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        return 2
    server.start_io()
    return 0
