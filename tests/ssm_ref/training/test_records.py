"""The records of the experiments: made by the configs that lie beside them, and what they show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssm_ref.training.batch import Source
from ssm_ref.training.config import RunConfig, load_config, variants
from ssm_ref.training.metrics import read_rows
from ssm_ref.training.models import build_model

FOLDER = Path(__file__).parents[3] / "docs" / "experiments"
CONFIGS = sorted(FOLDER.glob("*.toml"))


def runs(experiment: str) -> dict[str, dict[str, Any]]:
    """The last recorded run of every variant."""
    return {row["variant"]: row for row in read_rows(FOLDER / f"{experiment}.jsonl")}


def at(row: dict[str, Any], **changed: int) -> dict[str, Any]:
    """The scores of a run with `changed` data."""
    (found,) = (entry for entry in row["evaluate"] if entry["changed"] == changed)
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_variant_has_a_record_of_its_present_config(path: Path) -> None:
    recorded, wanted = runs(path.stem), variants(path) or [""]
    if is_full(path):  # these take hours of a GPU: what has been run is recorded, and cut short
        assert recorded.keys() <= set(wanted)
    else:
        assert sorted(recorded) == sorted(wanted)
    for variant, row in recorded.items():
        cfg = load_config(path, variant)
        assert row["config_hash"] == cfg.fingerprint, variant
        assert row["experiment"] == path.stem
        planned = row.get("planned", row["steps"])
        assert planned == cfg.settings.steps >= row["steps"]
        if planned > row["steps"]:
            assert is_full(path)
            assert "--seconds" in row["command"], "cut short by nobody"
        assert row["command"].startswith(
            ("python -m ssm_ref train ", "python -m ssm_kernels.train ")
        )
        assert f" docs/experiments/{path.name}" in row["command"]
        for key in ("commit", "source_hash", "device", "torch", "date", "seconds", "final"):
            assert row[key], key
        assert row["curve"][-1][0] <= row["steps"]


def is_full(path: Path) -> bool:
    """Whether a config has the size of its paper, or of a real corpus."""
    return path.stem.endswith(("_paper", "_large"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_record_is_of_the_present_model(
    path: Path, data_of: Callable[[RunConfig], Source]
) -> None:
    for variant, row in runs(path.stem).items():
        cfg = load_config(path, variant)
        model = build_model(cfg.model, cfg.where("model"), data_of(cfg).sizes)
        assert row["parameters"] == sum(p.numel() for p in model.parameters()), variant


def test_selective_copying() -> None:
    s4d, mamba = (runs("selective_copying")[name] for name in ("s4d", "mamba"))
    assert s4d["parameters"] > mamba["parameters"]
    assert mamba["final"]["exact"] > 0.99
    assert at(mamba, length=256)["exact"] > 0.99
    assert at(s4d, length=256)["exact"] < 0.05


def test_induction_heads() -> None:
    found = runs("induction_heads")
    assert all(row["final"]["accuracy"] > 0.99 for row in found.values())
    assert at(found["mamba"], length=768)["accuracy"] > 0.95
    for name in ("s4d", "attention"):
        assert at(found[name], length=768)["accuracy"] < 0.3


def test_parity() -> None:
    found = runs("parity")
    for name in ("mamba", "deltanet"):
        assert found[name]["final"]["exact"] < 0.6
    for name in ("mamba3", "mamba_negative", "deltanet_negative", "lstm"):
        assert found[name]["final"]["exact"] > 0.99
    far = {name: at(row, length=256)["accuracy"] for name, row in found.items()}
    assert far["lstm"] == 1.0
    assert min(far["mamba_negative"], far["deltanet_negative"]) > 0.8
    assert max(far["mamba"], far["deltanet"], far["mamba3"]) < 0.6


def test_modular_arithmetic() -> None:
    found = runs("modular_arithmetic")
    assert all(row["final"]["accuracy"] > 0.97 for row in found.values())
    twice = {name: at(row, numbers=16, after=8)["accuracy"] for name, row in found.items()}
    assert min(twice[name] for name in ("lstm", "mamba_negative", "deltanet_negative")) > 0.75
    assert max(twice[name] for name in ("mamba", "mamba3")) < 0.62
    assert all(at(row, numbers=64, after=8)["accuracy"] < 0.5 for row in found.values())


def above_chance(row: dict[str, Any], classes: int, **changed: int) -> float:
    """The share of right answers above chance, as Grazzi et al. count it."""
    return (float(at(row, **changed)["accuracy"]) - 1 / classes) / (1 - 1 / classes)


def test_parity_at_the_size_of_the_paper() -> None:
    found, rows = runs("parity_paper"), read_rows(FOLDER / "parity_paper.jsonl")
    for name in ("mamba_negative", "deltanet_negative"):
        early, late = (row for row in rows if row["variant"] == name)
        assert late["steps"] > 18_000 > 2 * early["steps"]
        assert early["final"]["exact"] == late["final"]["exact"] == 1.0
        assert above_chance(early, 2, length=128, after=40) > 0.99
        assert above_chance(early, 2, length=256, after=40) > 0.85
        assert above_chance(late, 2, length=128, after=40) > 0.9
        assert 0.45 < above_chance(late, 2, length=256, after=40) < 0.8
    for name in ("mamba", "deltanet"):
        assert found[name]["final"]["exact"] > 0.99
        assert above_chance(found[name], 2, length=256, after=40) < 0.2


def test_arithmetic_at_the_size_of_the_paper() -> None:
    share = {
        name: above_chance(row, 5, numbers=32, after=20)
        for name, row in runs("modular_arithmetic_paper").items()
    }
    assert share["deltanet_negative"] > 0.98
    assert 0.75 < share["mamba_negative"] < 0.85
    assert share["mamba"] < 0.4


def test_selective_copying_at_the_size_of_the_paper() -> None:
    mamba = runs("selective_copying_paper")["mamba_small_batch"]
    assert mamba["final"]["accuracy"] > 0.99
    assert mamba["steps"] < 50_000
    early = [right for step, _, right in mamba["validation"] if step <= 12_000]
    assert max(early) < 0.08, "the leap comes later"
    s4 = runs("selective_copying_paper")["s4_small_batch"]
    assert s4["steps"] > 22_000
    assert s4["final"]["accuracy"] < 0.35
    assert s4["final"]["exact"] == 0.0
    (mamba_then,) = (right for step, _, right in mamba["validation"] if step == 22_000)
    assert mamba_then > 0.6


def test_induction_heads_at_the_size_of_the_paper() -> None:
    rows = read_rows(FOLDER / "induction_heads_paper.jsonl")
    mamba, longer = (row for row in rows if row["variant"] == "mamba")
    assert mamba["final"]["accuracy"] == longer["final"]["accuracy"] == 1.0
    for length in (64, 128, 512, 1024, 4096, 16384, 65536):
        assert at(mamba, length=length)["accuracy"] == 1.0
    assert at(mamba, length=262144)["accuracy"] > 0.9
    assert at(mamba, length=1048576)["accuracy"] > 0.6
    assert longer["steps"] > 1.6 * mamba["steps"]
    assert at(longer, length=65536)["accuracy"] < 0.85
    assert at(longer, length=1048576)["accuracy"] < 0.35
    decayed = runs("induction_heads_paper")["mamba_decayed"]
    assert decayed["steps"] == decayed["planned"]
    assert at(decayed, length=4096)["accuracy"] == 1.0
    assert at(decayed, length=65536)["accuracy"] < 0.5


def test_attention_and_s4_on_induction_heads_at_the_size_of_the_paper() -> None:
    found = runs("induction_heads_paper")
    assert found["attention"]["final"]["accuracy"] < 0.1
    assert found["attention"]["steps"] < found["attention"]["planned"] / 4
    attention, s4 = found["attention_large_batch"], found["s4_large_batch"]
    assert attention["final"]["accuracy"] == s4["final"]["accuracy"] == 1.0
    assert 0.7 < at(attention, length=512)["accuracy"] < 0.85
    assert 0.3 < at(attention, length=1024)["accuracy"] < 0.4
    assert max(at(s4, length=n)["accuracy"] for n in (64, 128, 512, 1024, 4096)) < 0.45


def test_associative_recall_at_the_size_of_the_paper() -> None:
    found = runs("associative_recall_paper")
    assert all(row["steps"] == row["planned"] for row in found.values())
    most = {name: at(row, fewest=64, pairs=64)["accuracy"] for name, row in found.items()}
    assert most["attention"] == most["state256"] == 1.0
    assert most["state64"] > 0.98
    assert 0.7 < most["state16"] < 0.9
    assert most["mamba"] < 0.6
    for name in ("attention", "state256", "state64", "state16", "mamba"):
        for pairs in (4, 8):
            assert at(found[name], fewest=pairs, pairs=pairs)["accuracy"] > 0.99


def test_captions() -> None:
    assert all(row["final"]["exact"] > 0.9 for row in runs("captions").values())


def test_copying_at_the_size_of_the_paper() -> None:
    attention, mamba = (runs("copying_paper")[name] for name in ("attention", "mamba"))
    assert abs(attention["steps"] - mamba["steps"]) < 100
    assert attention["final"]["exact"] > 0.95
    assert mamba["final"]["exact"] < 0.02


def test_associative_recall() -> None:
    right = {name: row["final"]["accuracy"] for name, row in runs("associative_recall").items()}
    assert right.pop("state16") == 1.0
    assert max(right.values()) < 0.85


def test_copying() -> None:
    for row in runs("copying").values():
        assert row["final"]["exact"] > 0.95
        assert at(row, shortest=15, longest=15)["exact"] == 0.0


def test_digits() -> None:
    assert runs("digits")[""]["final"]["accuracy"] > 0.96
