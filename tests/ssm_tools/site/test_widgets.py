"""Pictures with sliders: words in both languages, a snippet for each, scripts small and local."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssm_tools.run import declared
from ssm_tools.site.build import ASSETS
from ssm_tools.site.widget_strings import EN, RU
from ssm_tools.site.widgets import WIDGETS, Marks, Slider, widget_html, widget_scripts

ROOT = Path(__file__).parents[3]
FENCE = re.compile(r"^```widget (\S+)$", re.M)
NAMES = sorted(WIDGETS)


@pytest.mark.parametrize("name", NAMES)
def test_words_of_both_languages_have_the_same_keys_and_slots(name: str) -> None:
    assert RU[name].keys() == EN[name].keys()
    assert set(WIDGETS[name].controls) <= EN[name].keys()
    for key, text in EN[name].items():
        slots = re.findall(r"\{\w+\}", text)
        assert sorted(slots) == sorted(re.findall(r"\{\w+\}", RU[name][key])), key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tongue", ["ru", "en"])
def test_every_control_has_a_name_for_screen_readers(name: str, tongue: str) -> None:
    html = widget_html(name, tongue, "<img>", lambda address: f"../{address}")
    assert 'href="../assets/widgets.css"' in html
    assert 'aria-live="polite"' in html
    assert html.count(" hidden>") == 3  # what waits for the script
    for key, control in WIDGETS[name].controls.items():
        assert f'name="{key}"' in html
        if isinstance(control, Marks):
            assert html.count("aria-label=") == control.count
        if isinstance(control, Slider):
            assert control.low <= control.value <= control.high


@pytest.mark.parametrize("name", NAMES)
def test_scripts_are_small_and_load_nothing(name: str) -> None:
    for address in widget_scripts(name):
        text = (ASSETS / Path(address).name).read_text(encoding="utf-8")
        assert len(text.encode()) <= 6_000
        assert not re.search(r"\b(import|fetch|requestAnimationFrame|setInterval)\b", text)


def test_pages_show_each_picture_in_both_languages() -> None:
    shown = {
        tongue: [
            found
            for path in sorted((ROOT / "docs" / tongue).rglob("*.md"))
            for found in FENCE.findall(path.read_text(encoding="utf-8"))
        ]
        for tongue in ("ru", "en")
    }
    assert sorted(shown["ru"]) == sorted(shown["en"]) == NAMES


def test_each_picture_stands_on_a_snippet() -> None:
    snippets = {snippet.id for snippet in declared(ROOT)}
    assert {widget.snippet for widget in WIDGETS.values()} <= snippets
