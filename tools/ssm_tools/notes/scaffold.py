"""The files of a new concept or note, so filled in that every check passes from the start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssm_tools.notes.targets import without_suffix

FAMILIES = (
    *("foundations", "structured", "selective", "linear_attention", "recurrent", "attention"),
    *("hybrid", "vision", "audio", "multimodal", "time_series", "genomics"),
)
_SLUG = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Words:
    """What a new note says in one language until its author says it better."""

    why: str
    equations: str
    code: str
    relates: str
    description: str
    reason: str
    state: str
    neighbours: str


WORDS: Mapping[str, Words] = {
    "ru": Words(
        why="Зачем это нужно",
        equations="Уравнения",
        code="В коде",
        relates="Связи",
        description="{title}: рекуррентная модель, чьё состояние затухает с заданной скоростью.",
        reason="Состояние $h_t$ помнит вход $x_t$ и забывает его с множителем $a$.",
        state="Первое состояние равно первому входу [[claim:starts-from-zero]], а дальше:",
        neighbours="Обзор семейства — в заметке [[state_space_models|SSM]].",
    ),
    "en": Words(
        why="Why it exists",
        equations="The equations",
        code="In code",
        relates="How it relates",
        description="{title}: a recurrent model whose state decays at a given rate.",
        reason="The state $h_t$ remembers the input $x_t$ and forgets it by the factor $a$.",
        state="The first state equals the first input [[claim:starts-from-zero]]; then it decays:",
        neighbours="The family is surveyed in [[state_space_models|SSM]].",
    ),
}

NOTE = """\
---
title: {title}
concept: {slug}
description: "{description}"
---

# {title}

{description}

## {why} {{#why}}

{reason}

## {equations} {{#equations}}

{state}

$$
h_t = a \\odot h_{{t-1}} + x_t \\tag{{1}}
$$

## {code} {{#code}}

```source ssm_ref.{family}.{slug}.{slug}
```

```snippet {slug}/first
```

## {relates} {{#relates}}

{neighbours}
"""

CONCEPT = """\
family: {family}
requires: []
implementation: [ssm_ref.{family}.{slug}]
tests: [tests/ssm_ref/{family}/test_{slug}.py]
snippets: [first]
claims:
  - id: starts-from-zero
    ru: Первое состояние равно первому входу.
    en: The first state equals the first input.
    test: tests/ssm_ref/{family}/test_{slug}.py::test_starts_from_zero
"""

SNIPPET = """\
# %% setup
import torch

from ssm_ref.{family}.{slug} import {slug}

# %% shown
x = torch.ones(1, 4, 1)  # b l d
h = {slug}(x, torch.full((1,), 0.5))
print(h.flatten().tolist())

# %% check
assert h.shape == x.shape
"""

MODULE = '''\
"""{title}: a state that decays and takes in the input.

From a state of zero, each step is

    h_t = a ⊙ h_{{t-1}} + x_t,  h_{{-1}} = 0    (1)
"""

import torch
from jaxtyping import Float
from torch import Tensor


def {slug}(x: Float[Tensor, "b l d"], a: Float[Tensor, " d"]) -> Float[Tensor, "b l d"]:
    """All states of (1), one after another: the definition."""
    h, hs = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = a * h + x[:, t]  # (1)
        hs.append(h)
    return torch.stack(hs, dim=1)
'''

TEST = """\
import torch

from ssm_ref.{family}.{slug} import {slug}


def test_starts_from_zero() -> None:
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close({slug}(x, torch.full((3,), 0.5))[:, 0], x[:, 0])


def test_matches_the_sum() -> None:
    x = torch.randn(1, 6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = {slug}(x, torch.full((1,), 0.5, dtype=torch.float64))
    want = sum(0.5 ** (5 - s) * x[:, s] for s in range(6))
    torch.testing.assert_close(h[:, -1], want)
"""

PLAIN_NOTE = """\
---
title: {title}
---

# {title}
"""


def concept_files(family: str, slug: str, title: str) -> dict[str, str]:
    """Return the text of every file of a new concept, by path from the project's root.

    Raises `ValueError` for a family that is none, or a slug that is no Python name.
    """
    if family not in FAMILIES:
        raise ValueError(f"{family!r} is no family; choose one of {', '.join(FAMILIES)}")
    if not _SLUG.fullmatch(slug):
        raise ValueError(f"{slug!r} is no slug: lower-case letters, digits and underscores")
    names = {"family": family, "slug": slug, "title": title}
    files = {
        f"docs/concepts/{slug}.yml": CONCEPT.format(**names),
        f"docs/snippets/{slug}/first.py": SNIPPET.format(**names),
        f"ssm_ref/{family}/{slug}.py": MODULE.format(**names),
        f"tests/ssm_ref/{family}/test_{slug}.py": TEST.format(**names),
    }
    for language, words in WORDS.items():
        said = {field: getattr(words, field) for field in Words.__slots__}
        said["description"] = words.description.format(title=title)
        files[f"docs/{language}/ssm/{family}/{slug}.md"] = NOTE.format(**names, **said)
    return files


def note_files(vault: Path, languages: tuple[str, ...], path: str, title: str) -> dict[str, str]:
    """Return the text of a new note in each language, by path from the current folder."""
    bare = without_suffix(path).strip("/")
    if not bare or ".." in bare.split("/"):
        raise ValueError(f"{path!r} is no path inside the vault")
    text = PLAIN_NOTE.format(title=title)
    folders = languages or ("",)
    return {(vault / language / f"{bare}.md").as_posix(): text for language in folders}
