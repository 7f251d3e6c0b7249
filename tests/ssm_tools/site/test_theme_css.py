"""The theme's stylesheet loses the parts that no page has, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssm_tools.site.theme_css import slim


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a{b:c}", "a{b:c}"),
        (".md-header{b:c}.md-typeset a{d:e}", ".md-typeset a{d:e}"),
        (".md-nav a,.md-typeset a:not(.x,.y){b:c}", ".md-typeset a:not(.x,.y){b:c}"),
        ("@media print{.md-nav{b:c}a{d:e}}", "@media print{a{d:e}}"),
        ("@media print{.md-nav{b:c}}i{d:e}", "i{d:e}"),
        (':root{--md-a:url("x{}y")}b{d:var(--md-a)}', ':root{--md-a:url("x{}y")}b{d:var(--md-a)}'),
        (':root{--md-a:url("x{}y");--md-b:1}b{d:e}', ":root{--md-b:1}b{d:e}"),
        (':root{--md-a:url("x{}y")}b{d:e}', "b{d:e}"),
        ('@charset "UTF-8";a{b:c}\n/*# sourceMappingURL=x.map */', "a{b:c}"),
    ],
)
def test_keeps_what_pages_can_match(tmp_path: Path, given: str, kept: str) -> None:
    path = tmp_path / "main.css"
    path.write_text(given, encoding="utf-8")
    assert slim(path).strip() == kept


def test_the_theme_of_today_is_a_third_of_its_size(tmp_path: Path) -> None:
    material = pytest.importorskip("material")
    folder = Path(material.__file__).parent / "templates/assets/stylesheets"
    path = next(folder.glob("main.*.min.css"))
    shorter = slim(path)
    assert len(shorter) < path.stat().st_size / 3
    assert shorter.count("{") == shorter.count("}")
    assert ".md-typeset .admonition" in shorter
    assert ".md-search" not in shorter
