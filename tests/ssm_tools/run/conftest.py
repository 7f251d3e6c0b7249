"""One fork server for all tests of the executor: it takes seconds to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from ssm_tools.run import Outcome, Store
from ssm_tools.run.client import Client
from ssm_tools.run.executor import run_with
from ssm_tools.run.snippets import parse_file

RunText = Callable[[str | bytes], Outcome]


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("project")
    (root / "ssm_ref").mkdir()
    (root / "ssm_ref" / "__init__.py").write_text("")
    with Client(root, jobs=2) as client:
        yield client


@pytest.fixture
def run_text(client: Client, request: pytest.FixtureRequest) -> RunText:
    """Return a function that runs a text as the snippet `page/name` of the shared project."""
    name = "".join(letter if letter.isalnum() else "_" for letter in request.node.name)

    def run(text: str | bytes) -> Outcome:
        relative = f"docs/snippets/page/{name}.py"
        path = Path(client.root, relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).lstrip("\n").encode())
        snippet = parse_file(path, relative, f"page/{name}")
        (outcome,) = run_with(client, [snippet], Store(client.root), cache=False)
        return outcome

    return run
