"""A new concept passes the checks, and its code runs, before its author has written a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssm_tools.cli import main
from ssm_tools.concepts import load_concepts, verify
from ssm_tools.notes import check_vault, load_vault


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for language in ("ru", "en"):
        survey = tmp_path / f"docs/{language}/ssm/state_space_models.md"
        survey.parent.mkdir(parents=True)
        survey.write_text("# SSM\n\n[[toy_decay]]\n")
    for package in ("ssm_ref", "ssm_ref/recurrent"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_new_concept_is_clean(project: Path) -> None:
    assert main(["new", "recurrent/toy_decay", "--title", "Toy decay"]) == 0
    vault = load_vault(project / "docs")
    assert len(vault.notes) == 4
    assert check_vault(vault) == []
    concepts, findings = load_concepts(project)
    assert [*findings, *verify(project, concepts, vault)] == []


def test_nothing_is_overwritten(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "recurrent/toy_decay"]) == 0
    assert main(["new", "recurrent/toy_decay"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_plain_note_is_made_in_each_language(project: Path) -> None:
    assert main(["new", "ssm/topics/history"]) == 0
    assert (project / "docs/ru/ssm/topics/history.md").is_file()
    assert (project / "docs/en/ssm/topics/history.md").is_file()


@pytest.mark.parametrize("path", ["recurrent/Bad-Slug", "../out", ""])
def test_misuse(project: Path, path: str) -> None:
    assert main(["new", path]) == 2


def test_a_translation_that_fell_behind_is_found(project: Path) -> None:
    assert main(["new", "recurrent/toy_decay"]) == 0
    assert main(["sync"]) == 0
    assert main(["check"]) == 0
    note = project / "docs/ru/ssm/recurrent/toy_decay.md"
    note.write_text(note.read_text().replace("помнит", "хранит"))
    (finding,) = check_vault(load_vault(project / "docs"))
    assert (finding.code, "#why" in finding.message) == ("T004", True)
    assert main(["sync"]) == 0
    assert main(["check"]) == 0
