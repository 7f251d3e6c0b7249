"""The site in headless Chromium, from files: search, graph, previews, switch, keyboard, phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

NOTES = {
    "ru/index.md": "# Начало\n\nСм. [[convolution]] и [[state]].\n",
    "ru/ssm/foundations/convolution.md": (
        "---\ntitle: Свёртка\ndescription: Фильтр как сумма.\n---\n\n# Свёртка\n\n"
        "## Зачем {#why}\n\nДискретизация с матрицей и собственное число. См. [[state]].\n\n"
        "$$\ny = \\sum_k K_k x_{t-k} \\tag{1}\n$$\n\n## Код {#code}\n\n```python\nx = 1\n```\n"
        + "\nТекст.\n"
        * 60
    ),
    "ru/ssm/foundations/state.md": "# Состояние\n\nТекст о матрице. [[convolution#why|зачем]]\n",
    "ru/ssm/selective/mamba.md": "# Mamba\n\nСм. [[state]].\n",
    "en/index.md": "# Start\n\nSee [[convolution]] and [[state]].\n",
    "en/ssm/foundations/convolution.md": (
        "# Convolution\n\n## Why {#why}\n\nDiscretization. [[state]]\n\n"
        "## Code {#code}\n\n```python\nx = 1\n```\n" + "\nText.\n" * 60
    ),
    "en/ssm/foundations/state.md": "# State\n\nA matrix. [[convolution]]\n",
    "en/ssm/selective/mamba.md": "# Mamba\n\nSee [[state]].\n",
}
PAGE = "ru/ssm/foundations/convolution.html"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ssm_tools.site.build import build_site
    from ssm_tools.site.config import SiteConfig

    folder = tmp_path_factory.mktemp("site")
    for name, text in NOTES.items():
        path = folder / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    result = build_site(SiteConfig.for_vault(folder / "notes", folder / "out"))
    assert result.built
    return folder / "out"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors


def open_search(page: Any, key: str) -> None:
    """Press the key as a person does: again, where the browser had not yet painted the page."""
    dialog = page.locator("dialog.search")
    for moment in range(300):
        if moment % 30 == 0:
            page.keyboard.press(key)
        page.wait_for_timeout(100)
        if dialog.is_visible():
            return
    dialog.wait_for(state="visible")


def test_search_finds_inflected_russian_by_keyboard(page: Any, site: Path) -> None:
    page.goto((site / "ru/index.html").as_uri())
    open_search(page, "/")
    field = page.locator("dialog.search input")
    for word in ("дискретизацию", "матрицей", "собственное", "свертка", "свёртки"):
        field.fill(word)
        page.wait_for_selector("dialog.search li")
        found = page.locator("dialog.search li").all_inner_texts()
        assert any("Свёртка" in text for text in found), (word, found)
    page.keyboard.press("Enter")
    page.wait_for_url("**/convolution.html*")


def test_search_closes_with_escape(page: Any, site: Path) -> None:
    page.goto((site / "en/index.html").as_uri())
    for key in ("s", "f"):
        open_search(page, key)
        page.keyboard.press("Escape")
        page.locator("dialog.search").wait_for(state="hidden")


def test_preview_by_keyboard(page: Any, site: Path) -> None:
    page.goto((site / "ru/index.html").as_uri())
    page.locator(".page__body a.wiki").first.focus()
    page.wait_for_selector(".preview")
    assert "Фильтр как сумма" in page.locator(".preview").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".preview").count() == 0


def test_code_starts_at_the_left(page: Any, site: Path) -> None:
    page.goto((site / PAGE).as_uri())
    aligned = page.locator("pre").evaluate_all("all => all.map(e => getComputedStyle(e).textAlign)")
    assert aligned
    assert set(aligned) <= {"start", "left"}


def test_switch_keeps_page_and_section(page: Any, site: Path) -> None:
    page.goto((site / PAGE).as_uri() + "#code")
    page.wait_for_selector(".toc a.here[href='#code']", state="attached")
    box = page.locator("[data-switch]").bounding_box()  # click() would scroll to the top first
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**/en/ssm/foundations/convolution.html#code")


def test_graph_walks_searches_and_finds_paths(page: Any, site: Path) -> None:
    page.goto((site / "ru/graph.html").as_uri())
    page.wait_for_selector("[data-ready]")
    page.locator("input[name=find]").fill("сверт")
    assert page.locator(".nodes a:not(.dim)").all_text_contents() == ["Свёртка"]
    page.locator("button[type=reset]").click()
    page.wait_for_timeout(100)
    page.locator("input[name=from]").fill("Mamba")
    page.locator("input[name=to]").fill("Свёртка")
    assert page.locator(".graph__status").inner_text() == "Mamba → Состояние → Свёртка"
    page.locator("button[type=reset]").click()
    page.wait_for_timeout(100)
    before = page.locator(".graph__stage svg").get_attribute("viewBox")
    page.locator("[data-zoom='1.4']").click()
    assert page.locator(".graph__stage svg").get_attribute("viewBox") != before
    page.locator(".nodes a").first.focus()
    first = page.evaluate("document.activeElement.id")
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
        if page.evaluate("document.activeElement.id") != first:
            break
    assert page.evaluate("document.activeElement.id") != first
    page.keyboard.press("Enter")
    page.wait_for_url("**/*.html")


def test_works_without_script(browser: Any, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    page.locator("a[hreflang=ru]").click()
    page.goto((site / "ru/graph.html").as_uri())
    assert page.locator(".graph__stage svg a").count() == 4
    assert page.locator("table a").count() == 4
    assert not page.locator(".graph__controls").is_visible()
    page.goto((site / PAGE).as_uri())
    assert page.locator("math").count() == 1
    context.close()


def test_first_page_follows_the_browser(browser: Any, site: Path) -> None:
    for locale, folder in (("ru-RU", "ru"), ("de-DE", "en")):
        context = browser.new_context(locale=locale)
        page = context.new_page()
        page.goto((site / "index.html").as_uri())
        page.wait_for_url(f"**/{folder}/index.html")
        context.close()


@pytest.mark.parametrize("name", [PAGE, "en/graph.html", "ru/topics.html"])
def test_phone_has_no_sideways_scroll(browser: Any, site: Path, name: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto((site / name).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("[data-drawer]").click()
    if "graph" not in name:
        assert page.locator("#sitenav").is_visible()
    context.close()


def test_dark_mode_follows_and_can_be_chosen(browser: Any, site: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto((site / PAGE).as_uri())
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.locator("[data-theme-toggle]").click()
    assert page.evaluate(colour) != dark
    page.reload()
    assert page.evaluate(colour) != dark
    context.close()


def test_prints_the_text_alone(page: Any, site: Path) -> None:
    page.goto((site / PAGE).as_uri())
    page.emulate_media(media="print")
    assert not page.locator(".sitehead").is_visible()
    assert not page.locator("#sitenav").is_visible()
    assert page.locator("h1").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [PAGE, "ru/graph.html", "en/topics.html"])
def test_no_accessibility_violations(
    browser: Any, axe: Any, site: Path, name: str, scheme: Any
) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto((site / name).as_uri())
    page.wait_for_timeout(200)
    found = axe.run(page).response["violations"]
    context.close()
    assert not [(v["id"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found]


def test_weight_of_pages(site: Path) -> None:
    """What a page loads at once, as files, leaves room for its text in 300 KB."""
    theme = sum(path.stat().st_size for path in (site / "ru").rglob("main.*.min.css"))
    own = sum((site / "assets" / name).stat().st_size for name in ("ssm.css", "ssm.js"))
    assert theme + own + (site / PAGE).stat().st_size < 150_000
    assert own + (site / "assets/graph.js").stat().st_size < 100_000
