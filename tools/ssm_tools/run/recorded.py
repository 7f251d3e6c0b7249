"""Results recorded on a GPU: committed beside the snippet, replayed with their provenance.

`docs/snippets/<page>/<name>.recorded.json` holds what the snippet showed there, the hash of its own
text and of every project file that it read, and where, when and how it ran.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ssm_tools.findings import Finding
from ssm_tools.run.environment import SEED, versions
from ssm_tools.run.results import Recorded, Result
from ssm_tools.run.snippets import Snippet
from ssm_tools.run.store import Store, text_hash


def record(root: Path, snippet: Snippet, result: Result, commit: str = "") -> Path:
    """Write a result that a GPU run has just given, with its provenance; return the file.

    `commit` names the tree where git is absent.
    """
    device, driver = _gpu()
    provenance = Recorded(
        commit=commit or _line(["git", "-C", str(root), "rev-parse", "HEAD"]),
        device=device,
        driver=driver,
        versions=versions(),
        seed=SEED,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        command=f"ssm-notes run --device cuda --record {snippet.id}",
    )
    data = {"text": text_hash(snippet)} | replace(result, recorded=provenance).to_json()
    path = Store(root).recorded_path(snippet)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def check_recorded(root: Path, snippets: Iterable[Snippet]) -> Iterator[Finding]:
    """Yield a finding for each GPU snippet without a recorded result, or with a stale one."""
    store = Store(root)
    for snippet in snippets:
        if snippet.options.device == "cuda":
            result = store.recorded(snippet)
            hint = f"on a GPU: ssm-notes run --device cuda --record {snippet.id}"
            if result is None or result.recorded is None:
                message = f"snippet {snippet.id} was never recorded"
                yield Finding(snippet.path, snippet.line, 1, "S017", message, hint)
            elif result.recorded.stale:
                message = f"the recording of {snippet.id} is stale: {result.recorded.stale}"
                yield Finding(snippet.path, snippet.line, 1, "S016", message, hint)


def _gpu() -> tuple[str, str]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    name, _, driver = _line(query).partition(", ")
    return name, driver


def _line(command: list[str]) -> str:
    """Return the first line that a command prints, `unknown` where it cannot run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.partition("\n")[0].strip()
