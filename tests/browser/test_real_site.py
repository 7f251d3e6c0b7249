"""The project's own site in headless Chromium, from files, where `make site` has built it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

SITE = Path(__file__).parents[2] / "site"
LISTS = ("index", "topics", "graph", "references", "glossary", "claims", "engine", "api/index")
PHONE = {"width": 390, "height": 844}


def sample() -> list[str]:
    """Lists, and one page of each family, the languages by turns."""
    found = [f"{('ru', 'en')[n % 2]}/{name}.html" for n, name in enumerate(LISTS)]
    families = sorted(path for path in (SITE / "ru/ssm").glob("*/") if any(path.glob("*.html")))
    for number, folder in enumerate(families):
        pages = sorted(folder.glob("*.html"), key=lambda path: (-path.stat().st_size, path.name))
        inside = pages[0].relative_to(SITE / "ru").as_posix()
        found.append(f"{('en', 'ru')[number % 2]}/{inside}")
    return found


@pytest.fixture(scope="module")
def site() -> Path:
    if not (SITE / "ru/index.html").is_file():
        pytest.skip("the site is not built: run `make site`")
    return SITE


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport=PHONE, offline=True, reduced_motion="reduce")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    assert not errors


def test_pages_open_without_errors_and_fit_a_phone(page: Any, site: Path) -> None:
    wide = {}
    for name in sample():
        page.goto((site / name).as_uri())
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            wide[name] = width
    assert not wide


FOUND = {
    "ru": {
        "дискретизацию": "discretization", "матрицей": "realization", "собственное": "state_space",
        "собственными значениями": "state_space", "свёрткой": "convolution",
        "состояниях": "state_space", "распознаванию": "audio_mamba", "вниманием": "transformer",
        "дельта-правилом": "delta_rule", "сегментацию": "segmentation",
        "изображениями": "diffusion",
        "мамбы": "mamba", "учёта состояний": "state_tracking", "с чего начать": "index#start",
        "discretization": "discretization", "state tracking": "state_tracking", "rwkv7": "rwkv7",
        "eigenvalue": "state_space", "hybrid": "hybrid_architectures", "decay": "ssd",
        "fine-tuning": "mamba_architecture#finetuning", "detection": "detection",
    },
    "en": {
        "дискретизация": "discretization", "свёртки": "convolution", "вниманием": "transformer",
        "учёт состояний": "state_tracking", "гибриды": "hybrid_architectures",
        "discretizing": "discretization", "quantization": "mamba_architecture#precision",
        "rwkv7": "rwkv7", "mamba2": "mamba2", "segmentation": "segmentation",
        "recognition": "audio_mamba#measured", "references": "references", "glossary": "glossary",
        "when to use": "when_to_use", "zero-order hold": "discretization",
        "parity": "state_tracking",
    },
}  # fmt: skip


@pytest.mark.parametrize("language", FOUND)
def test_search_puts_the_page_that_was_meant_first(page: Any, site: Path, language: str) -> None:
    page.goto((site / language / "index.html").as_uri())
    page.locator("[data-search-open]").click()
    field, first = page.locator("dialog.search input"), page.locator("dialog.search li a").first
    first_of = {}
    for asked in FOUND[language]:
        field.fill("")
        page.locator("dialog.search li").first.wait_for(state="detached")
        field.fill(asked)
        first.wait_for(state="visible")
        address, _, section = str(first.get_attribute("href")).partition("#")
        name = address.rpartition("/")[2].removesuffix(".html")
        first_of[asked] = name + (f"#{section}" if section else "")
    assert first_of == FOUND[language]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_accessibility_violations(browser: Any, axe: Any, site: Path, scheme: Any) -> None:
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    found = []
    for name in sample()[::2] if scheme == "light" else sample()[1::4]:
        page.goto((site / name).as_uri())
        for fault in axe.run(page).response["violations"]:
            found.append((name, fault["id"], [n["html"][:120] for n in fault["nodes"][:3]]))
    context.close()
    assert not found


def test_switch_keeps_page_and_section(page: Any, site: Path) -> None:
    page.goto((site / "ru/ssm/selective/mamba.html").as_uri() + "#equations")
    page.wait_for_selector(".toc a.here[href='#equations']", state="attached")
    box = page.locator("[data-switch]").bounding_box()  # click() would scroll to the top first
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**/en/ssm/selective/mamba.html#equations")


@pytest.mark.parametrize(
    ("language", "asked", "page_title"),
    [
        ("ru", "дискретизацию", "Дискретизация"),
        ("ru", "матрицей", "матриц"),
        ("ru", "собственное", "Управляемость"),
        ("ru", "свертки", "Свёртка"),
        ("ru", "discretization", "Дискретизация"),
        ("ru", "convolution", "Свёртка"),
        ("en", "дискретизация", "Discretization"),
        ("en", "дискретизацию", "Discretization"),
        ("en", "свёртка", "Convolution"),
        ("en", "kalman", "Kalman"),
    ],
)
def test_search(page: Any, site: Path, language: str, asked: str, page_title: str) -> None:
    page.goto((site / language / "index.html").as_uri())
    page.locator("[data-search-open]").click()
    page.locator("dialog.search input").fill(asked)
    page.locator("dialog.search li").first.wait_for()
    hits = page.locator("dialog.search li").all_inner_texts()
    assert any(page_title.casefold() in hit.casefold() for hit in hits[:5]), hits[:5]


def test_the_page_that_is_called_so_comes_first(page: Any, site: Path) -> None:
    page.goto((site / "ru/index.html").as_uri())
    page.locator("[data-search-open]").click()
    page.locator("dialog.search input").fill("mamba")
    page.locator("dialog.search li").first.wait_for()
    assert page.locator("dialog.search li b").first.inner_text() == "Mamba"


def test_data_for_machines_can_be_read(site: Path) -> None:
    text = (site / "ru/ssm/selective/mamba.html").read_text(encoding="utf-8")
    data = json.loads(re.findall(r'ld\+json">(.*?)</script>', text, re.DOTALL)[0])
    assert data["about"]["@type"] == "DefinedTerm"
    for language in ("ru", "en"):
        listed = (site / language / "llms.txt").read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)]*\.md)\)", listed):
            assert (site / language / target).is_file(), target
    for path in sorted((site / "files/snippets").rglob("*.ipynb")):
        assert json.loads(path.read_text(encoding="utf-8"))["nbformat"] == 4


LOST = """() => [...document.querySelectorAll('pre, .local-graph text')].filter(part => {
  const around = (part.ownerSVGElement || part).getBoundingClientRect();
  const own = part.getBoundingClientRect();
  return part.ownerSVGElement ? own.left < around.left - 1 || own.right > around.right + 1
    : part.scrollWidth > part.clientWidth + 1;
}).map(part => part.textContent.trim().slice(0, 60))"""


def test_print_shows_every_line_and_name_whole(page: Any, site: Path) -> None:
    page.set_viewport_size({"width": 700, "height": 990})  # the text of a sheet of A4
    page.emulate_media(media="print")
    lost = {}
    for name in sample():
        page.goto((site / name).as_uri())
        if found := page.evaluate(LOST):
            lost[name] = found
    assert not lost
