"""`redirects.yml` of a vault: where pages and sections went, so that old addresses lead on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from ssm_tools.notes.fixes import write_text
from ssm_tools.notes.rename import Plan
from ssm_tools.notes.vault import Vault

NAME = "redirects.yml"


def load_redirects(root: Path) -> dict[str, str]:
    """Return old path → new path, as `ssm/x.md` (all languages) or `ru/ssm/x.md#id`."""
    path = root / NAME
    if not path.is_file():
        return {}
    data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(data, dict):
        raise ValueError(f"{path}: should map old paths to new ones")
    return {str(old): str(new) for old, new in data.items()}


def merged(known: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """Add redirects: chains are shortened, and what is a page again redirects no more."""
    result = {old: added.get(new, new) for old, new in known.items()} | dict(added)
    back = set(added.values())
    return {old: new for old, new in result.items() if old != new and old not in back}


def apply_plan(vault: Vault, plan: Plan) -> None:
    """Write the texts, move the files and enter the redirects of a rename."""
    for note_id, text in plan.texts.items():
        write_text(vault.notes[note_id].path, text)
    for path, text in plan.files.items():
        write_text(vault.root / path, text)
    for old, new in plan.moves.items():
        target = vault.root / new
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(vault.root / old, target)
        _remove_empty((vault.root / old).parent, vault.root)
    if plan.redirects:
        write_text(vault.root / NAME, redirects_text(vault, plan))


def redirects_text(vault: Vault, plan: Plan) -> str:
    """The text of `redirects.yml` after a rename."""
    redirects = merged(load_redirects(vault.root), plan.redirects)
    return str(yaml.safe_dump(redirects, allow_unicode=True, sort_keys=True))


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
