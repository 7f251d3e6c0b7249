"""Plain `mkdocs build --strict` makes the whole site, and stops on findings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ssm_tools.site.generator import THEME

CONFIG = f"""
site_name: t
use_directory_urls: false
theme: {{name: material, custom_dir: {THEME}, font: false}}
plugins: [ssm-notes]
"""


def build(root: Path, note: str) -> subprocess.CompletedProcess[str]:
    for language in ("ru", "en"):
        path = root / "docs" / language / "index.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(note, encoding="utf-8")
    (root / "mkdocs.yml").write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_builds_every_language(tmp_path: Path) -> None:
    done = build(tmp_path, "# Home {#home}\n\nText with $x$ and [[#home]].\n")
    assert done.returncode == 0, done.stderr
    for name in ("index.html", "ru/index.html", "en/index.html", "en/graph.html", "assets/ssm.js"):
        assert (tmp_path / "site" / name).is_file(), name
    assert "<math>" in (tmp_path / "site/en/index.html").read_text(encoding="utf-8")


def test_a_broken_link_stops_it(tmp_path: Path) -> None:
    done = build(tmp_path, "# Home\n\n[[nowhere]]\n")
    assert done.returncode != 0
    assert "L001" in done.stderr
    assert not (tmp_path / "site").exists()
