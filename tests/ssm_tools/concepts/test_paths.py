"""Learning paths: read from the tables, held to the prerequisites, shown on every page of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssm_tools.concepts import Concept, load_concepts
from ssm_tools.concepts.paths import KEY, path_findings, reading_paths
from ssm_tools.notes import NoteId, Vault, load_vault
from ssm_tools.site.config import SiteConfig
from ssm_tools.site.nav import Navigation
from ssm_tools.site.path_nav import paths_html
from ssm_tools.site.sources import read_sources

ROOT = Path(__file__).parents[3]
PATHS = """# Paths

## Student {#student}

See [[a]] first.

| step | read | do |
|---|---|---|
| 1 | [[a]] | not [[d]] |
| 2 | [[b\\|the second]], [[a]] | x |
| 3 | [[c#part\\|third]] | y |

## Kernels {#kernels}

| step | read | do |
|---|---|---|
| 1 | [[b]] | z |
| 2 | reading nothing | z |
"""
WORDS = {"place_on_paths": "Paths", "path_step": "step {n} of {total}"}


def vault(root: Path, requires: dict[str, str], other: str = PATHS) -> Vault:
    for language, text in (("ru", PATHS), ("en", other)):
        folder = root / "docs" / language / "ssm" / "topics"
        folder.mkdir(parents=True)
        (root / "docs" / language / KEY).write_text(text, encoding="utf-8")
        for name in "abcd":
            head = f"---\nconcept: {name}\n---\n"
            (folder / f"{name}.md").write_text(f"{head}# {name.upper()}\n\n## Part {{#part}}\n")
    (root / "docs" / "concepts").mkdir()
    for name in "abcd":
        text = f"family: topics\nrequires: [{requires.get(name, '')}]\n"
        (root / "docs" / "concepts" / f"{name}.yml").write_text(text)
    return load_vault(root / "docs")


def concepts(root: Path) -> dict[str, Concept]:
    return load_concepts(root)[0]


def test_reads_the_second_cells_in_order(tmp_path: Path) -> None:
    student, kernels = reading_paths(vault(tmp_path, {}), "en")
    assert [(step.number, step.note[-4:-3]) for step in student.steps] == [
        (1, "a"), (2, "b"), (3, "c"),
    ]  # fmt: skip
    assert (student.id, student.title, student.rows) == ("student", "Student", 3)
    assert kernels.rows == 2


@pytest.mark.parametrize(
    ("requires", "message"),
    [
        ({"c": "a, b"}, ""),
        ({"a": "c"}, "a requires c, which the path student reads only later"),
        ({"c": "d"}, "c requires d, which the path student does not read"),
    ],
)
def test_holds_the_order_to_the_prerequisites(
    tmp_path: Path, requires: dict[str, str], message: str
) -> None:
    notes = vault(tmp_path, requires)
    found = {
        (one.path[5:7], one.message) for one in path_findings(tmp_path, notes, concepts(tmp_path))
    }
    assert found == ({("ru", message), ("en", message)} if message else set())


def test_a_path_for_the_initiated_may_leave_prerequisites_out(tmp_path: Path) -> None:
    notes = vault(tmp_path, {"b": "a"})
    assert list(path_findings(tmp_path, notes, concepts(tmp_path))) == []


def test_both_languages_have_the_same_paths(tmp_path: Path) -> None:
    notes = vault(tmp_path, {}, PATHS.replace("[[c#part\\|third]]", "[[d]]"))
    (one,) = path_findings(tmp_path, notes, concepts(tmp_path))
    assert (one.code, one.path) == ("C023", f"docs/en/{KEY}")


def test_pages_know_their_place(tmp_path: Path) -> None:
    paths = reading_paths(vault(tmp_path, {}), "en")

    def link(note: NoteId, fragment: str) -> tuple[str, str]:
        return f"{note.rpartition('/')[2]}#{fragment}", note[-4].upper()

    html = paths_html(paths, NoteId("en/ssm/topics/b.md"), WORDS, link)
    assert "step 2 of 3" in html
    assert '<a rel="prev" href="a.md#">← A</a>' in html
    assert '<a rel="next" href="c.md#">C →</a>' in html
    assert "learning_paths.md#kernels" in html
    assert html.count("<li>") == 2
    assert paths_html(paths, NoteId("en/ssm/topics/d.md"), WORDS, link) == ""


def test_the_contents_of_the_site_follow_the_paths(tmp_path: Path) -> None:
    english = PATHS.replace("| 1 | [[a]]", "| 1 | [[d]]").replace(
        "| 3 | [[c#part", "| 3 | [[a#part"
    )
    vault(tmp_path, {}, english.replace(", [[a]] |", " |"))
    sources, _ = read_sources(SiteConfig.for_project(tmp_path))
    for language, order in (("ru", "abcd"), ("en", "dbac")):
        notes = Navigation(sources, language).families["topics"]
        assert [note.slug for note in notes] == [*order, "learning_paths"], (
            "what is on no path, last"
        )


@pytest.mark.parametrize("language", ["ru", "en"])
def test_the_three_paths_of_this_project(language: str) -> None:
    notes = load_vault(ROOT / "docs")
    paths = reading_paths(notes, language)
    assert [path.id for path in paths] == ["student", "engineer", "kernels"]
    for path in paths:
        assert [step.number for step in path.steps] == sorted(step.number for step in path.steps)
        assert path.steps[-1].number <= path.rows
    assert list(path_findings(ROOT, notes, concepts(ROOT))) == []
