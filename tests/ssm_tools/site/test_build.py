"""A stranger's vault becomes a whole site; a broken one leaves the previous site as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ssm_tools.findings import Severity
from ssm_tools.site.build import build_site
from ssm_tools.site.config import SiteConfig

NOTES = {
    "ru/index.md": "# Начало\n\nСм. [[свёртка]] и [[state|состояние]].\n",
    "ru/t/свёртка.md": '---\ntitle: "Свёртка <script>alert(1)</script>"\n---\n\n# Свёртка\n\n'
    "## Зачем {#why}\n\nМатрица и $x_t$. Блок. ^b1\n\n![[state#why]]\n",
    "ru/t/state.md": "# Состояние\n\n## Зачем {#why}\n\n[[свёртка#^b1|блок]] [[нет такой]]\n",
    "en/index.md": "# Start\n\nSee [[state]].\n",
    "en/t/state.md": "# State\n\n## Why {#why}\n\nA `[[code]]` and [[index]].\n",
}


def write(folder: Path) -> Path:
    for name, text in NOTES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vault")
    out = folder / "out"
    result = build_site(SiteConfig.for_vault(write(folder / "notes"), out))
    assert result.built
    assert not [f for f in result.findings if f.code == "B003"]
    return out


def test_pages_in_each_language(site: Path) -> None:
    for name in ("index.html", "404.html", "ru/index.html", "en/t/state.html", "ru/graph.html"):
        assert (site / name).is_file(), name


def test_links_lead_where_the_resolver_says(site: Path) -> None:
    page = (site / "ru/t/state.html").read_text(encoding="utf-8")
    assert 'href="%D1%81%D0%B2%D1%91%D1%80%D1%82%D0%BA%D0%B0.html#^b1"' in page
    assert '<span class="ghost" title="нет такой">' in page


def test_titles_are_escaped_everywhere(site: Path) -> None:
    for path in site.rglob("*.*"):
        if path.suffix in (".html", ".js") and path.parent.name != "assets":
            assert "<script>alert(1)" not in path.read_text(encoding="utf-8"), path


def test_language_switch_and_hreflang(site: Path) -> None:
    page = (site / "ru/t/state.html").read_text(encoding="utf-8")
    assert '<link rel="alternate" hreflang="en" href="../../en/t/state.html">' in page
    lonely = next((site / "ru/t").glob("св*.html")).read_text(encoding="utf-8")
    assert 'class="only"' in lonely


def test_backlinks_embeds_and_copies(site: Path) -> None:
    page = next((site / "ru/t").glob("св*.html")).read_text(encoding="utf-8")
    assert 'id="backlinks"' in page
    assert 'class="embed"' in page
    assert (site / "ru/t/state.md").is_file()
    assert "[Start]" in (site / "en/llms.txt").read_text(encoding="utf-8")


def test_graph_data(site: Path) -> None:
    data = json.loads((site / "ru/graph.json").read_text(encoding="utf-8"))
    assert {node["id"] for node in data["nodes"]} == {"index", "t/свёртка", "t/state"}
    assert {"source": "index", "target": "t/state", "kind": "links"} in data["edges"]


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert 'src="http' not in text
        assert 'rel="stylesheet" href="http' not in text


def test_a_strict_build_leaves_the_previous_site_whole(tmp_path: Path) -> None:
    notes, out = write(tmp_path / "docs"), tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("previous", encoding="utf-8")
    config = SiteConfig(notes, notes, out, tmp_path / "work", project=False, strict=True)
    result = build_site(config)
    assert not result.built
    assert any(f.code == "L001" and f.severity is Severity.ERROR for f in result.findings)
    assert (out / "index.html").read_text(encoding="utf-8") == "previous"


def test_one_folder_is_a_site_of_one_language(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "заметка.md").write_text("# Заметка\n\nТекст по-русски.\n", encoding="utf-8")
    result = build_site(SiteConfig.for_vault(notes, tmp_path / "out"))
    assert result.built
    assert '<html lang="ru"' in (tmp_path / "out/index.html").read_text(encoding="utf-8")


def test_notes_beside_the_languages_and_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "ru/index.md": "# Начало\n\n[[shared]]\n",
        "en/index.md": "# Start\n\n![[#own]]\n\n## Own\n\nkept, [[x/общая]]\n",
        "shared.md": "# Shared\n\nIn English.\n",
        "x/общая.md": "# Общая\n\nПо-русски: [[shared]].\n",
    }
    for name, text in files.items():
        path = tmp_path / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = build_site(SiteConfig.for_vault(Path("notes"), Path("out")))
    assert result.built
    assert [finding.code for finding in result.findings] == ["T002"]  # what Russian lacks
    assert (tmp_path / "out/en/shared.html").is_file()
    assert (tmp_path / "out/ru/x/общая.html").is_file()
    russian = (tmp_path / "out/ru/index.html").read_text(encoding="utf-8")
    assert '<a href="../en/shared.html" class="wiki" hreflang="en" lang="en">' in russian
    english = (tmp_path / "out/en/index.html").read_text(encoding="utf-8")
    assert english.partition('class="embed"')[2].count("kept") == 2  # embedded, and in its place


def test_a_site_inside_its_vault_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.md").write_text("# A\n\n[[b]] ![[p.png]]\n", encoding="utf-8")
    (tmp_path / "b.md").write_text("# B\n", encoding="utf-8")
    (tmp_path / "p.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    config = SiteConfig.for_vault(Path("."), Path("site"))
    first, second = build_site(config), build_site(config)
    assert (first.built, first.findings, first.pages) == (True, [], second.pages)
    monkeypatch.setattr(Path, "read_bytes", _not_pictures(Path.read_bytes))
    (vanished,) = build_site(config).findings
    assert vanished.code == "B003"


def _not_pictures(read: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
    def reading(path: Path) -> bytes:
        if path.suffix == ".png":
            raise FileNotFoundError(path)
        return read(path)

    return reading
