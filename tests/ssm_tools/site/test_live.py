"""An edit of a note's text makes its page anew; the server never shows half a site."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from ssm_tools.site.build import build_site
from ssm_tools.site.config import SiteConfig
from ssm_tools.site.live import LiveSite
from ssm_tools.site.serve import listen, stamp

NOTES = {
    "ru/a.md": "---\ntitle: А\n---\n\n# А\n\nПервое слово и [[b]].\n",
    "ru/b.md": "# Б\n\nТекст.\n",
    "ru/c.md": "# В\n\n![[a]]\n",
    "en/a.md": "# A\n\nText.\n",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SiteConfig:
    folder = tmp_path_factory.mktemp("live")
    for name, text in NOTES.items():
        path = folder / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    config = SiteConfig.for_vault(folder / "notes", folder / "out")
    assert build_site(config).built
    return config


@pytest.fixture(scope="module")
def address(config: SiteConfig) -> Iterator[str]:
    server = listen(config, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def read(config: SiteConfig, page: str) -> str:
    return (config.out / page).read_text(encoding="utf-8")


def test_an_edit_reaches_its_page_those_that_hold_it_and_those_that_quote_it(
    config: SiteConfig,
) -> None:
    live = LiveSite(config)
    note = config.vault / "ru/a.md"
    before = stamp(config.out / "ru/a.html")
    note.write_text(NOTES["ru/a.md"].replace("Первое", "Новое"), encoding="utf-8")
    made = live.update({str(note)})
    assert made is not None
    assert set(made) == {"ru/a.html", "ru/b.html", "ru/c.html"}
    for page in made:
        assert "Новое слово" in read(config, page)
    assert "Новое" in (config.out / "ru/a.md").read_text(encoding="utf-8")
    assert stamp(config.out / "ru/a.html") != before
    note.write_text(NOTES["ru/a.md"].replace("и [[b]]", "и [[c]]"), encoding="utf-8")
    assert live.update({str(note)}) == ["ru/a.html", "ru/b.html", "ru/c.html"]
    assert "Первое слово" not in read(config, "ru/b.html")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ru/a.md", NOTES["ru/a.md"].replace("title: А", "title: Я")),
        ("ru/b.md", "# Б\n\n[[нет такой]]\n"),
        ("ru/b.md", "# Б\n\n$\\nosuchcommand$\n"),
        ("ru/new.md", "# Новая\n"),
    ],
)
def test_other_edits_are_left_to_a_whole_build(config: SiteConfig, name: str, text: str) -> None:
    live = LiveSite(config)
    path = config.vault / name
    kept = path.read_bytes() if path.is_file() else None
    path.write_text(text, encoding="utf-8")
    page = read(config, "ru/b.html")
    try:
        assert live.update({str(path)}) is None
        assert read(config, "ru/b.html") == page
    finally:
        path.unlink() if kept is None else path.write_bytes(kept)


@pytest.mark.parametrize(
    ("path", "asked", "title"),
    [
        ("/ru/x/y.html", "", "Страница не найдена"),
        ("/en/x.html", "ru", "Page not found"),
        ("/x", "ru-RU,ru;q=0.9", "Страница не найдена"),
    ],
)
def test_an_unknown_address_shows_the_page_of_the_site(
    address: str, path: str, asked: str, title: str
) -> None:
    request = urllib.request.Request(address + path, headers={"Accept-Language": asked})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 404
    text = caught.value.read().decode()
    assert f">{title}</h1>" in text
    assert '<head><base href="/' in text


def test_pages_carry_the_mark_that_they_are_asked_by(address: str, config: SiteConfig) -> None:
    mark = stamp(config.out / "ru/b.html")
    with urllib.request.urlopen(f"{address}/ru/b.html") as answer:
        assert f'window.SSM_LIVE="{mark}"'.encode() in answer.read()
    with urllib.request.urlopen(f"{address}/__built?/ru/b.html") as answer:
        assert answer.read().decode() == mark
