"""`ssm-notes build`: the whole site, in every language, or none of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "build the site; findings stop it and leave the previous site whole"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--vault", type=Path, metavar="DIR", help="somebody's notes, not a project")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the site goes (site)")
    parser.add_argument("--language", default="", help="the site's words in a vault of one folder")
    parser.add_argument("--root", type=Path, default=Path(), help="the project; default: here")
    parser.add_argument("--release", action="store_true", help="stop on stale GPU results, too")
    parser.add_argument(
        "--draft", action="store_true", help="build in spite of findings, which are printed"
    )


def run(args: argparse.Namespace) -> int:
    """Build and say what was built."""
    from ssm_tools.concepts import check_release
    from ssm_tools.site.build import GeneratorError, build_site
    from ssm_tools.site.config import SiteConfig

    if args.vault:
        config = SiteConfig.for_vault(args.vault, args.out or Path("site"), args.language)
    else:
        config = SiteConfig.for_project(args.root.resolve(), args.out, strict=not args.draft)
    if args.release and not args.vault and (stale := list(check_release(config.root))):
        for finding in stale:
            print(finding)
        print("ssm-notes: stale GPU results, the site is not built", file=sys.stderr)
        return 1
    try:
        result = build_site(config)
    except NotADirectoryError as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        return 2
    except GeneratorError as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        return 1
    for finding in result.findings:
        print(finding)
    if not result.built:
        print(
            f"ssm-notes: {len(result.findings)} findings, the site is not built "
            "and the previous one left as it was",
            file=sys.stderr,
        )
        return 1
    print(
        f"{config.out}: {result.pages} pages, {result.links} links opened, {result.seconds:.1f} s"
    )
    return 0
