"""`ssm-notes serve`: build, serve on this machine, rebuild and reload when a source changes."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "serve the site on this machine; rebuild and reload when a source changes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--vault", type=Path, metavar="DIR", help="somebody's notes, not a project")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the site goes (site)")
    parser.add_argument("--language", default="", help="the site's words in a vault of one folder")
    parser.add_argument("--root", type=Path, default=Path(), help="the project; default: here")
    parser.add_argument("--port", type=int, default=8000, help="another free one if it is busy")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from ssm_tools.site.config import SiteConfig
    from ssm_tools.site.serve import serve

    if args.vault:
        config = SiteConfig.for_vault(args.vault, args.out or Path("site"), args.language)
    else:
        config = SiteConfig.for_project(args.root.resolve(), args.out)
    return serve(config, args.port)
