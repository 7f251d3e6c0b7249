"""`ssm-notes stage`: the notes as plain Markdown, a folder per language, for any site generator."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write the notes as plain Markdown, with links, listings and outputs filled in"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--root", type=Path, default=Path(), help="the project; default: here")


def run(args: argparse.Namespace) -> int:
    """Stage the notes; findings stop it."""
    from ssm_tools.site.assemble import assemble
    from ssm_tools.site.config import SiteConfig
    from ssm_tools.site.sources import read_sources
    from ssm_tools.site.stage import stage

    config = SiteConfig.for_project(args.root.resolve())
    sources, findings = read_sources(config)
    made = assemble(sources) if not findings else None
    findings = findings + (made.findings if made else [])
    for finding in findings:
        print(finding)
    if findings or made is None:
        return 1
    written = stage(made, config.work / "stage")
    print(f"{config.work / 'stage'}: {written} files written")
    return 0
