"""The card of a concept: recorded runs of training with their scores and where they are told."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from ssm_tools.concepts import Concept, Tie, trained_row
from ssm_tools.site.card import CardWriter

if TYPE_CHECKING:
    from ssm_tools.site.model import Sources

ROW = {"experiment": "models", "variant": "mamba", "steps": 400, "device": "a <card>"}
ROW |= {"date": "2026-11-28", "final": {"loss": 1.8761, "accuracy": 0.5478}}


def records(root: Path, **files: list[dict[str, object]]) -> Path:
    folder = root / "docs" / "experiments"
    folder.mkdir(parents=True)
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return root


def card(root: Path, language: str, *trained: str) -> str:
    ids = ("models", "paper-size", "recall-at-paper-size")
    note = SimpleNamespace(id="experiments", headings=[SimpleNamespace(id=name) for name in ids])
    sources = SimpleNamespace(
        config=SimpleNamespace(root=root),
        concepts={},
        concept_notes={("experiments", language): note},
        addresses={"experiments": "t/experiments.html"},
        generated=lambda name, language: f"{name}.html",
        tongue=lambda language: language,
        papers={},
        ledger=[],
        report=None,
    )
    concept = Concept("mamba", "mamba.yml", Tie("selective"), trained=tuple(map(Tie, trained)))
    return CardWriter(cast("Sources", sources), concept, language, "t/mamba.html").html()


def test_a_recorded_run_stands_on_the_card(tmp_path: Path) -> None:
    paper = ROW | {"experiment": "copying_paper", "variant": "", "final": {"loss": 0.5}}
    recall = paper | {"experiment": "associative_recall_paper", "final": {"accuracy": 0.9}}
    root = records(tmp_path, models=[ROW], copying_paper=[paper], associative_recall_paper=[recall])
    html = card(root, "en", "models/mamba", "copying_paper", "associative_recall_paper")
    assert '<a href="experiments.html#models">loss 1.88, accuracy 54.8 %</a>' in html
    assert "<small>models/mamba · 400 steps · a &lt;card&gt; · 2026-11-28</small>" in html
    assert '<a href="experiments.html#paper-size">loss 0.50</a>' in html
    assert '<a href="experiments.html#recall-at-paper-size">accuracy 90.0 %</a>' in html
    russian = card(root, "ru", "models/mamba")
    assert "потери 1,88, точность 54,8 %</a>" in russian
    assert "шагов: 400" in russian


def test_the_newest_record_of_a_variant_counts(tmp_path: Path) -> None:
    newer = ROW | {"steps": 500}
    root = records(tmp_path, models=[ROW, newer, ROW | {"variant": "s4", "steps": 1}])
    found = trained_row(root, "models/mamba")
    assert found is not None
    assert found["steps"] == 500


@pytest.mark.parametrize("tie", ["models/s5", "models", "other/mamba"])
def test_what_was_not_recorded_is_no_row(tie: str, tmp_path: Path) -> None:
    root = records(tmp_path, models=[ROW])
    assert trained_row(root, tie) is None
    assert "Trained" not in card(root, "en", tie)
