"""Pictures with sliders in headless Chromium: their numbers are those of the reference."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ssm_ref.foundations.discretization import discretize_diagonal, half_life
from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.selective.ssd import segsum, ssd
from ssm_tools.site.build import ASSETS
from ssm_tools.site.widgets import WIDGETS, widget_html, widget_scripts

pytestmark = pytest.mark.browser

F64 = torch.float64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all the pictures in each language, as files."""
    folder = tmp_path_factory.mktemp("widgets")
    shutil.copytree(ASSETS, folder / "assets")
    scripts = dict.fromkeys(s for name in WIDGETS for s in widget_scripts(name))
    loaded = "".join(f'<script src="{script}" defer></script>' for script in scripts)
    for tongue in ("ru", "en"):
        figures = "".join(
            widget_html(name, tongue, "<p class=still>still</p>", str) + "</figure>"
            for name in WIDGETS
        )
        (folder / f"{tongue}.html").write_text(
            f'<!doctype html><html lang="{tongue}"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            '<link rel="stylesheet" href="assets/ssm.css">'
            f'<body class="md-typeset">{figures}{loaded}',
            encoding="utf-8",
        )
    return folder


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((folder / "en.html").as_uri())
    page.wait_for_selector("[data-widget=chunk_walk] svg")
    yield page
    context.close()
    assert not errors


def computed(page: Any, name: str, values: dict[str, Any]) -> Any:
    return page.evaluate(f"v => window.ssmWidgets.{name}(v)", values)


def close(got: Any, want: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(got, dtype=F64), want.to(F64), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "rule", ["bilinear", "forward_euler", "backward_euler", "exponential_euler"]
)
@pytest.mark.parametrize(("dt", "decay", "turn"), [(0.1, 0.5, 5.0), (3.0, 0.03, 0.0)])
def test_memory_is_that_of_the_reference(
    page: Any, rule: str, dt: float, decay: float, turn: float
) -> None:
    got = computed(page, "memory", {"dt": dt, "decay": decay, "turn": turn, "rule": rule})
    lam, k = torch.tensor(complex(-decay, turn), dtype=torch.complex128), torch.arange(64)
    for key, name in (("zoh", "zoh"), ("other", rule)):
        made = discretize_diagonal(
            lam, torch.ones((), dtype=F64), torch.tensor(dt, dtype=F64), name
        )
        want = (made.A_bar**k * made.B_bar).real
        assert (torch.tensor(got[key], dtype=F64) - want).abs().max() < 1e-9 * want.abs().max()
    close(got["half"], half_life(lam, dt))


def test_selectivity_is_that_of_the_reference(page: Any) -> None:
    marks = [t in (2, 5, 11) for t in range(16)]
    values = {"marked": 0.7, "rest": 0.02, "fixed": 0.2, "marks": marks}
    got = computed(page, "selectivity", values)
    chosen = torch.full((16,), 0.02, dtype=F64).masked_fill(torch.tensor(marks), 0.7)
    for key, dt in (("selective", chosen), ("constant", torch.full((16,), 0.2, dtype=F64))):
        x, B = torch.eye(16, dtype=F64)[..., None], torch.ones(16, 16, 1, dtype=F64)
        steps = dt[None, :, None].expand(16, 16, 1)
        h, _ = selective_scan(x, steps, -torch.ones(1, 1, dtype=F64), B, B)
        close(got[key], h[:, -1, 0])
        share = h[torch.tensor(marks), -1, 0].sum() / h[:, -1, 0].sum()
        close(got["share"][key == "constant"], share)


@pytest.mark.parametrize("size", [1, 3, 4, 16])
def test_chunk_walk_is_that_of_the_reference(page: Any, size: int) -> None:
    got = computed(page, "chunk_walk", {"size": size, "decay": 0.3})
    t = torch.arange(16, dtype=F64)
    a = -0.3 * (1 + t.sin())
    close(got["mask"], segsum(a).exp())
    dt = -a[None, :, None]
    x = (0.7 * t).cos()[None, :, None, None] / dt[..., None]
    B = torch.stack([t.cos(), t.sin()], -1)[None, :, None]
    C = torch.stack([torch.ones(16, dtype=F64), (t / 2).sin()], -1)[None, :, None]
    y, state = ssd(x, dt, -torch.ones(1, dtype=F64), B, C)
    close(got["y"], y[0, :, 0, 0])
    close(got["state"], state[0, 0, 0])
    assert got["error"] < 1e-12
    chunks = math.ceil(16 / size)
    assert [one["kind"] for one in got["walk"]].count("own") == chunks
    assert len(got["walk"]) == 3 * chunks - 2


def test_keyboard_moves_and_the_text_says_what_changed(page: Any) -> None:
    figure = page.locator("[data-widget=memory]")
    before = figure.locator("svg").get_attribute("aria-label")
    figure.locator("[name=dt]").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    after = figure.locator("svg").get_attribute("aria-label")
    assert before != after
    assert "Δ" in figure.locator("label").first.inner_text()
    assert figure.locator("[name=dt]").get_attribute("aria-valuetext") == "0.178"
    page.wait_for_function(
        "text => document.querySelector('.widget__says').textContent === text", arg=after
    )
    figure.locator("[name=rule]").select_option("forward_euler")
    assert "outside the unit disc" in figure.locator("svg").get_attribute("aria-label")


def test_walk_goes_on_to_its_last_step(page: Any) -> None:
    figure = page.locator("[data-widget=chunk_walk]")
    step = figure.locator("[name=step]")
    assert step.input_value() == step.get_attribute("max") == "10"
    assert "one by one: 40, through the state: 96" in figure.locator("svg").get_attribute(
        "aria-label"
    )
    step.focus()
    page.keyboard.press("Home")
    assert "nothing computed yet" in figure.locator("svg").get_attribute("aria-label")
    figure.locator("[name=size]").focus()
    page.keyboard.press("End")
    assert step.get_attribute("max") == "1"


def test_boxes_mark_tokens(page: Any) -> None:
    figure = page.locator("[data-widget=selectivity]")
    assert figure.locator("[type=checkbox]:checked").count() == 2
    before = figure.locator("svg").get_attribute("aria-label")
    figure.locator("[type=checkbox]").last.focus()
    page.keyboard.press("Space")
    assert figure.locator("rect.two").count() == 6
    assert figure.locator("svg").get_attribute("aria-label") != before


def test_fits_a_phone_and_speaks_russian(page: Any, folder: Path) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto((folder / "ru.html").as_uri())
    page.wait_for_selector("[data-widget=chunk_walk] svg")
    text = page.locator("[data-widget=memory] svg").get_attribute("aria-label")
    assert re.search(r"\|λ̄\| = 0,951", text)
    assert page.locator(".still:visible").count() == 0


def test_without_scripts_and_in_print_the_still_picture_shows(browser: Any, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "en.html").as_uri())
    assert page.locator(".still:visible").count() == len(WIDGETS)
    assert page.locator("form:visible").count() == 0
    context.close()
    context = browser.new_context()
    page = context.new_page()
    page.goto((folder / "en.html").as_uri())
    page.wait_for_selector("[data-widget=chunk_walk] svg")
    page.emulate_media(media="print")
    assert page.locator(".still:visible").count() == len(WIDGETS)
    assert page.locator("form:visible").count() == 0
    context.close()
