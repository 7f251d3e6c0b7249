"""What the recorded vision experiments show."""

from pathlib import Path
from typing import Any

import pytest

from ssm_ref.training.metrics import read_rows

FOLDER = Path(__file__).parents[3] / "docs" / "experiments"


def runs(experiment: str) -> dict[str, dict[str, Any]]:
    """The last recorded run of every variant."""
    return {row["variant"]: row for row in read_rows(FOLDER / f"{experiment}.jsonl")}


@pytest.mark.parametrize("form", ["brain_slices", "brain_slices_large"])
def test_brain(form: str) -> None:
    dice = {name: row["measured"]["dice"] for name, row in runs(form).items()}
    assert dice["vm_unet"]["grey"] > dice["pixels"]["grey"] + 0.03
    assert dice["vm_unet"]["white"] > dice["pixels"]["white"] + 0.25


def test_mnist() -> None:
    right = {name: row["final"]["accuracy"] for name, row in runs("mnist_large").items()}
    assert right["linear"] < 0.92
    assert min(right["vision_mamba"], right["vmamba"]) > 0.975


def test_canvases() -> None:
    measured = runs("canvases")[""]["measured"]
    assert measured["canvases"] == 500
    assert measured["AP50"] > 0.6
    assert measured["AP"] > 0.4


def test_large_canvases() -> None:
    small, large = (runs(name)[""]["measured"] for name in ("canvases", "canvases_large"))
    assert (large["canvases"], large["boxes"]) == (small["canvases"], small["boxes"])
    assert large["AP50"] > 0.95
    assert large["AP"] > 0.8


def test_generated_digits() -> None:
    measured = runs("generated_digits")[""]["measured"]
    drawn, held, noise = (measured["judged"][name] for name in ("drawn", "held out", "noise"))
    assert drawn["agreement"] > 0.95
    assert noise["agreement"] < 0.2
    assert held["frechet"] < drawn["frechet"] < noise["frechet"] / 10
    assert drawn["nearest"] > 0.7
    assert drawn["closest"] > 0.2, "no copy"
    assert len(bytes.fromhex(measured["pictures"])) == 40 * 8 * 8


def test_large_generated_digits() -> None:
    judged = runs("generated_digits_large")[""]["measured"]["judged"]
    drawn, held, noise = (judged[name] for name in ("drawn", "held out", "noise"))
    assert drawn["agreement"] > 0.9
    assert held["agreement"] > 0.9
    assert held["frechet"] < drawn["frechet"] < noise["frechet"] / 10
    assert drawn["closest"] > 0.2, "no copy"
