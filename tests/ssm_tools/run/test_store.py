"""When a result counts: text, options and every file read; not prose, not other modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssm_tools.run import Fresh, NotRun, Stale, Store, declared, lookup
from ssm_tools.run.client import Client
from ssm_tools.run.executor import run_with, update_expectations
from ssm_tools.run.recorded import check_recorded, record

USES = "from ssm_ref.used import x\n\nprint(x, open(__file__[:-3] + '.txt').read())\n"


@pytest.fixture
def root(client: Client) -> Path:
    folder = client.root / "docs" / "snippets" / "stored"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    (client.root / "ssm_ref" / "used.py").write_text("x = 1\n")
    (client.root / "ssm_ref" / "other.py").write_text("x = 1\n")
    (folder / "a.txt").write_text("data")
    (folder / "a.py").write_text(USES)
    return client.root


def run(client: Client) -> list[bool]:
    """Run the page's snippets; return whether each came from the store."""
    snippets = [one for one in declared(client.root) if one.page == "stored"]
    return [one.cached for one in run_with(client, snippets, Store(client.root))]


def test_a_result_counts_while_what_it_read_is_as_it_was(root: Path, client: Client) -> None:
    (snippet,) = (one for one in declared(root) if one.page == "stored")
    run(client)
    assert run(client) == [True]
    found = lookup(root, snippet)
    assert isinstance(found, Fresh)
    names = set(found.result.dependencies)
    assert names == {"ssm_ref/__init__.py", "ssm_ref/used.py", "docs/snippets/stored/a.txt"}
    (root / "ssm_ref" / "other.py").write_text("x = 2\n")
    assert run(client) == [True]
    (root / "ssm_ref" / "used.py").write_text("x = 2\n")
    assert lookup(root, snippet) == Stale("ssm_ref/used.py changed")
    assert run(client) == [False]
    found = lookup(root, snippet)
    assert isinstance(found, Fresh)
    assert found.result.outputs[0].data.startswith("2"), "read from source, not from bytecode"
    (root / "ssm_ref" / "used.py").write_text("x = 1\n")
    assert run(client) == [True], "the result of the other branch is still there"
    (root / "docs" / "snippets" / "stored" / "a.txt").unlink()
    assert lookup(root, snippet) == Stale("docs/snippets/stored/a.txt changed")


def test_text_counts(root: Path, client: Client) -> None:
    run(client)
    (root / "docs" / "snippets" / "stored" / "a.py").write_text(USES + "print(2)\n")
    (snippet,) = (one for one in declared(root) if one.page == "stored")
    assert lookup(root, snippet) == Stale("its text, options or environment changed")


def test_failures_are_not_kept(root: Path, client: Client) -> None:
    (root / "docs" / "snippets" / "stored" / "bad.py").write_text("1 / 0\n")
    assert run(client).count(False) >= 1
    (bad,) = (one for one in declared(root) if one.id == "stored/bad")
    assert isinstance(lookup(root, bad), NotRun)


def test_a_failure_leaves_no_older_result_to_show(root: Path, client: Client) -> None:
    (snippet,) = (one for one in declared(root) if one.page == "stored")
    run(client)
    kept = lookup(root, snippet)
    assert isinstance(kept, Fresh)
    (root / "ssm_ref" / "used.py").write_text("x = 2\n")
    run(client)
    (root / "ssm_ref" / "used.py").write_text("x = 1\n")
    Store(root).forget(snippet)
    assert lookup(root, snippet) == Stale("ssm_ref/used.py changed"), "that of another branch stays"


def test_a_kept_file_that_is_none_does_not_count(root: Path, client: Client) -> None:
    run(client)
    (snippet,) = (one for one in declared(root) if one.page == "stored")
    for path in (root / "build" / "snippets" / "stored").rglob("*.json"):
        path.write_text(path.read_text()[:-9])
    assert isinstance(lookup(root, snippet), NotRun)
    assert run(client) == [False]


def test_update_rewrites_expectations(root: Path, client: Client) -> None:
    path = root / "docs" / "snippets" / "stored" / "a.py"
    path.write_text("print(1)\n#> 2\n")
    (snippet,) = (one for one in declared(root) if one.page == "stored")
    outcomes = list(run_with(client, [snippet], Store(root)))
    assert "- 2\n+ 1" in outcomes[0].findings[0].message
    assert list(update_expectations(root, outcomes)) == ["docs/snippets/stored/a.py"]
    assert path.read_text() == "print(1)\n#> 1\n"


def test_gpu_snippets_show_what_was_recorded(root: Path, client: Client) -> None:
    path = root / "docs" / "snippets" / "stored" / "a.py"
    path.write_text("# snippet: device=cuda\nfrom ssm_ref.used import x\nprint(x)\n")
    (snippet,) = (one for one in declared(root) if one.page == "stored")
    assert [one.code for one in check_recorded(root, [snippet])] == ["S017"]
    (outcome,) = run_with(client, [snippet], Store(root))
    assert outcome.result is not None
    record(root, snippet, outcome.result)
    found = lookup(root, snippet)
    assert isinstance(found, Fresh)
    assert found.result.recorded is not None
    assert found.result.recorded.stale == ""
    assert list(check_recorded(root, [snippet])) == []
    path.write_text(path.read_text() + "print(2)\n")
    (snippet,) = (one for one in declared(root) if one.page == "stored")
    assert [one.code for one in check_recorded(root, [snippet])] == ["S016"]


NOTE = """---
title: Fences
---
# Fences

```python run id=one
x = 20
```

!!! note "In a box"

    ```python run id=two after=one raises=ZeroDivisionError
    print(x + 1)
    #> 21
    1 / 0
    ```

```python
not run
```
"""


def test_fences_of_both_languages_are_one_snippet(root: Path, client: Client) -> None:
    for language in ("ru", "en"):
        path = root / "docs" / language / "fences.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(NOTE)
    one, two = (snippet for snippet in declared(root) if snippet.page == "fences")
    assert (one.id, one.line, two.id, two.line) == ("fences/one", 7, "fences/two", 13)
    results = list(run_with(client, [one, two], Store(root)))
    assert [outcome.findings for outcome in results] == [(), ()]
    path.write_text(NOTE.replace("x = 20", "x = 21"))
    found = [snippet for snippet in declared(root) if snippet.page == "fences"]
    assert [problem.code for one in found for problem in one.problems] == ["S014", "S014"]
    path.write_text(NOTE.replace("id=one", ""))
    codes = [problem.code for one in declared(root) for problem in one.problems]
    assert "S010" in codes
    for language in ("ru", "en"):
        (root / "docs" / language / "fences.md").unlink()
