"""Run Material for MkDocs for one language of an assembled site."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import yaml

from ssm_tools.site.assemble import Assembly

THEME = Path(__file__).parent / "theme"


def run_generator(made: Assembly, language: str, staged: Path, out: Path) -> None:
    """Build the pages of one language into `out/<language>`; exit 1 on a warning of the build."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    project = made.sources.config.root / "mkdocs.yml"
    if not made.sources.config.project or not project.is_file():
        project = _default_config(staged.parent / f"mkdocs-{language or 'all'}.yml", staged)
    counter = _Warnings()
    logging.getLogger("mkdocs").addHandler(counter)
    config = load_config(str(project), site_dir=str(out / language), strict=False)
    plugin = config.plugins["ssm-notes"]
    plugin.prepare(made, language, staged)
    try:
        build(config)
    except Abort as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    if counter.count:
        raise SystemExit(1)


def _default_config(path: Path, docs: Path) -> Path:
    """Write a configuration for a vault that has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {
        "site_name": "notes",
        "docs_dir": str(docs.resolve()),
        "use_directory_urls": False,
        "theme": {"name": "material", "custom_dir": str(THEME), "font": False},
        "plugins": ["ssm-notes"],
    }
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


class _Warnings(logging.Handler):
    """Prints and counts the generator's warnings: each of them stops a strict build."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Print one warning."""
        self.count += 1
        print(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)
