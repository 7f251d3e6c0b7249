"""What figures say in other languages: each label once, by `docs/labels.yml`, or a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ssm_tools.concepts import verify
from ssm_tools.run import Fresh, LabelsError, Outcome, Stale, Store, load_labels
from ssm_tools.run.client import Client
from ssm_tools.run.labels import FILE, Labels, has_words, spelt, translated

RunText = Callable[[str], Outcome]
FIGURE = """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.bar(["loop", "S4D"], [0.5, 1.5], label="width 64")
    axes.set(xlabel="time step", ylabel=r"$\\Delta$", title="What is kept")
    axes.legend()
"""
RUSSIAN = """
names: [Mamba]
ru:
  loop: цикл
  width {}: ширина {}
  time step: шаг по времени
  What is kept: Что хранится
"""


@pytest.fixture
def labels(client: Client) -> Iterator[Path]:
    path = client.root / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(RUSSIAN, encoding="utf-8")
    yield path
    path.unlink()


def test_a_figure_is_drawn_in_each_language(run_text: RunText, labels: Path) -> None:
    outcome = run_text(FIGURE)
    assert outcome.result is not None, outcome.findings
    (english,) = outcome.result.outputs
    russian = english.in_language("ru")
    assert (english.name, russian.name) == ("What is kept", "Что хранится")
    for plain, there in [
        ("loop", "цикл"),
        ("width 64", "ширина 64"),
        ("time step", "шаг по времени"),
    ]:
        assert f">{plain}<" in english.data
        assert f">{there}<" in russian.data
        assert f">{plain}<" not in russian.data
        assert f">{there}<" in str(russian.data_dark)
    assert ">S4D<" in russian.data
    assert "1.4<" in english.data
    assert "1,4<" in russian.data, "ticks are spelt as the language does"
    assert english.in_language("en") == english


def test_without_the_file_figures_speak_english(run_text: RunText) -> None:
    outcome = run_text(FIGURE)
    assert outcome.result is not None, outcome.findings
    (output,) = outcome.result.outputs
    assert not output.translated


def test_a_label_without_an_entry_is_a_finding(run_text: RunText, labels: Path) -> None:
    labels.write_text(RUSSIAN.replace("  loop: цикл\n", ""), encoding="utf-8")
    outcome = run_text(FIGURE)
    assert outcome.result is None
    (finding,) = outcome.findings
    assert (finding.code, finding.line) == ("S020", 3)
    assert "docs/labels.yml does not say 'loop' in ru" in finding.message


def test_a_figure_is_stale_once_its_words_change(
    run_text: RunText, client: Client, labels: Path
) -> None:
    outcome = run_text(FIGURE)
    found = Store(client.root).lookup(outcome.snippet)
    assert isinstance(found, Fresh)
    labels.write_text(RUSSIAN + "  something else: другое\n", encoding="utf-8")
    assert isinstance(Store(client.root).lookup(outcome.snippet), Fresh), "it does not say that"
    labels.write_text(RUSSIAN.replace("цикл", "петля"), encoding="utf-8")
    assert Store(client.root).lookup(outcome.snippet) == Stale("docs/labels.yml changed")
    labels.write_text(RUSSIAN + "  S4D: ''\n", encoding="utf-8")
    assert Store(client.root).lookup(outcome.snippet) == Stale("docs/labels.yml changed"), "broken"
    labels.write_text(RUSSIAN + "  S4D: С4Д\n", encoding="utf-8")
    assert Store(client.root).lookup(outcome.snippet) == Stale("docs/labels.yml changed")


@pytest.mark.parametrize("call", ['axes.set_title("{}")', 'axes.set_ylabel("{}")'])
def test_words_without_room_are_a_finding(run_text: RunText, call: str) -> None:
    wide = "x " * 60
    text = (
        f"import matplotlib.pyplot as plt\n\nfigure, axes = plt.subplots()\n{call.format(wide)}\n"
    )
    (finding,) = run_text(text).findings
    assert finding.code == "S022"
    assert "no room in the figure for 'x x" in finding.message
    assert not run_text(text.replace(wide, "x x")).findings


def test_titles_that_meet_are_a_finding(run_text: RunText) -> None:
    text = """
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(1, 3)
        for one, words in zip(axes, ("first", "x " * 28, "third"), strict=True):
            one.set_title(words)
    """
    (finding,) = run_text(text).findings
    assert (finding.code, finding.line) == ("S022", 3)
    assert "'x x" in finding.message
    assert not run_text(text.replace("28", "3")).findings


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("time", True),
        ("Attention", True),
        ("log-decay", True),
        ("forward, ms", True),
        ("N = 16", False),
        (r"$\mathrm{error}$ of $x_t$", True),
        (r"$\mathrm{error}$", False),
        ("S4D, RWKV-7, DeltaNet, mLSTM", False),
        ("d_state = 16, bf16", False),
        ("Mamba", False),
        ("−0.5", False),
        ("t", False),
    ],
)
def test_what_needs_a_translation(label: str, says: bool) -> None:
    assert has_words(label, frozenset({"Mamba"})) is says


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("width 64", "ширина 64"),
        ("from 1 to 2.5", "от 1 до 2.5"),
        ("width 64, 3", ""),
        ("exactly 8", "ровно восемь"),
        ("unknown", ""),
    ],
)
def test_numbers_stand_for_themselves(label: str, said: str) -> None:
    entries = {"width {}": "ширина {}", "from {} to {}": "от {} до {}", "exactly 8": "ровно восемь"}
    assert translated(label, entries) == said


@pytest.mark.parametrize(
    ("label", "russian"),
    [
        ("0.5", "0,5"),
        ("−0.25", "−0,25"),
        ("1,048,576 tokens", "1\N{NO-BREAK SPACE}048\N{NO-BREAK SPACE}576 tokens"),
        ("window 2,048", "window 2048"),
        ("window 32,768", "window 32\N{NO-BREAK SPACE}768"),
        ("in (0, 1)", "in (0, 1)"),
        (r"$\lambda = 0.5$ at 0.5", r"$\lambda = 0{,}5$ at 0,5"),
        ("Mamba-2.8B, Mamba-2-2.7B", "Mamba-2.8B, Mamba-2-2.7B"),
        ("ends at 3. Then", "ends at 3. Then"),
        ("PyTorch 2.11.0", "PyTorch 2.11.0"),
    ],
)
def test_numbers_are_spelt_as_the_language_does(label: str, russian: str) -> None:
    assert spelt(label, "ru") == russian
    assert spelt(label, "en") == label


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ru: [a]", "ru: label: what it says there"),
        ("ru: {time: 3}", "'time': 3"),
        ("ru: {time: }", "'time': None"),
        ("ru: {'width {}': ширина}", "must have as many"),
        ("names: Mamba", "names must be a list of words"),
        ("- a", "a mapping of languages"),
        ("ru: {", "not YAML"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(LabelsError, match=what):
        load_labels(tmp_path)


def test_check_names_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "docs" / "concepts").mkdir(parents=True)
    (tmp_path / FILE).write_text("ru: {time: 3}", encoding="utf-8")
    found = [finding for finding in verify(tmp_path, {}) if finding.code == "S021"]
    assert [finding.path for finding in found] == ["docs/labels.yml"]
    assert "'time': 3" in found[0].message


def test_no_file_means_no_languages(tmp_path: Path) -> None:
    assert load_labels(tmp_path) == Labels()
