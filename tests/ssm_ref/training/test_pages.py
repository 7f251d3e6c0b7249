"""The training commands that pages print: each runs as printed, and every model has one."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from ssm_ref.training import beyond_language, models, vision
from ssm_ref.training.command import configure
from ssm_ref.training.config import load_config, variants

ROOT = Path(__file__).parents[3]
COMMAND = re.compile(r"^python -m ssm_(?:ref |kernels\.)train (docs/\S+\.toml.*)$", re.MULTILINE)


def printed(language: str) -> dict[str, list[list[str]]]:
    """The arguments of every training command of docs/experiments, by page."""
    folder = ROOT / "docs" / language
    pages = {
        page.relative_to(folder).as_posix(): COMMAND.findall(page.read_text("utf-8"))
        for page in sorted(folder.rglob("*.md"))
    }
    return {
        page: [shlex.split(line, comments=True) for line in lines]
        for page, lines in pages.items()
        if lines
    }


PAGES = printed("en")
LETTERS = {"M": "mamba", "2": "mamba2", "3": "mamba3"}  # models that a pattern trains as layers


def asked(arguments: list[str]) -> list[tuple[Path, str]]:
    """The runs that a command starts: a config and one of its variants."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    configure(parser)
    args = parser.parse_args(arguments)
    path = ROOT / args.config
    return [(path, variant) for variant in args.variant or variants(path) or [""]]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_pages_name_what_exists(page: str) -> None:
    for arguments in PAGES[page]:
        for path, variant in asked(arguments):
            load_config(path, variant)


def test_both_languages_print_the_same_commands() -> None:
    assert printed("ru") == PAGES


def test_every_small_model_has_its_own_command() -> None:
    own = {
        variant
        for page, commands in PAGES.items()
        if page != "ssm/topics/experiments.md"
        for arguments in commands
        for path, variant in asked(arguments)
        if path.stem == "models"
    }
    assert own == set(variants(ROOT / "docs" / "experiments" / "models.toml"))


def test_every_model_is_trained_by_a_command_of_some_page() -> None:
    commands = [arguments for page in PAGES.values() for arguments in page]
    runs = {run for arguments in commands for run in asked(arguments)}
    tables = [load_config(path, variant).model for path, variant in runs]
    letters = {LETTERS.get(letter, "") for table in tables for letter in table.get("pattern", "")}
    known = {*models.MODELS, *vision.MODELS, *beyond_language.MODELS}
    missing = known - letters - {table["name"] for table in tables}
    assert not missing, f"no page trains {sorted(missing)}"
