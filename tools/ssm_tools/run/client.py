"""The server's other end: start it, hand it jobs, take its replies, survive its death."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from ssm_tools.run.environment import server_variables
from ssm_tools.run.labels import Labels, load_labels
from ssm_tools.run.snippets import Snippet

Reply = dict[str, Any]


class Client:
    """A running fork server. Use it in a `with` block; it starts with the first job."""

    def __init__(self, root: Path, jobs: int = 2, device: str = "cpu") -> None:
        self.root = root.resolve()
        self.jobs = jobs
        self.device = device
        self._process: subprocess.Popen[str] | None = None
        self._work: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0
        self._labels = Labels()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(kill=error is not None)

    def close(self, *, kill: bool = False) -> None:
        """End the server and remove what its snippets left in their directories."""
        if self._process is not None:
            if kill:
                self._process.kill()
            self._process.communicate()
            self._process = None
        if self._work is not None:
            self._work.cleanup()
            self._work = None

    def run(self, snippets: Iterable[Snippet]) -> Iterator[tuple[Snippet, Reply]]:
        """Run snippets and yield each with its reply as it ends, in no fixed order."""
        waiting = {str(number): snippet for number, snippet in enumerate(snippets)}
        self._labels = load_labels(self.root)
        while waiting:
            answered = False
            for number, reply in self._replies(waiting):
                answered = True
                yield waiting.pop(number), reply
            self.close(kill=True) if waiting else None
            if waiting and not answered:
                # The server died at once: the first of those it was given is to blame.
                number = next(iter(waiting))
                problem = {"code": "S003", "message": "the executor died with it", "line": 0}
                yield waiting.pop(number), {"problem": problem}

    def _replies(self, waiting: dict[str, Snippet]) -> Iterator[tuple[str, Reply]]:
        """Send jobs a few at a time, so that neither pipe fills up, and yield the replies."""
        process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        unsent = list(waiting.items())
        expected = len(unsent)
        try:
            for number, snippet in unsent[: 2 * self.jobs]:
                process.stdin.write(self._job(number, snippet))
            process.stdin.flush()
            unsent = unsent[2 * self.jobs :]
            for _ in range(expected):
                line = process.stdout.readline()
                if not line:
                    return
                if unsent:
                    number, snippet = unsent.pop(0)
                    process.stdin.write(self._job(number, snippet))
                    process.stdin.flush()
                reply = json.loads(line)
                yield str(reply["id"]), reply
        except BrokenPipeError:
            return

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._work = tempfile.TemporaryDirectory(prefix="ssm-run-", ignore_cleanup_errors=True)
            work = Path(self._work.name).resolve()
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "ssm_tools.run.server",
                    str(self.jobs),
                    str(self.root),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=work,
                env=server_variables(self.root, work, self.device),
                text=True,
                encoding="utf-8",
            )
        return self._process

    def _job(self, number: str, snippet: Snippet) -> str:
        assert self._work is not None
        self._count += 1
        directory = Path(self._work.name).resolve() / str(self._count)
        directory.mkdir()
        job = {
            "id": number,
            "root": str(self.root),
            "path": str(self.root / snippet.path),
            "directory": str(directory),
            "options": asdict(snippet.options) | {"device": self.device},
            "cells": [asdict(cell) for cell in snippet.cells],
            "labels": {"names": sorted(self._labels.names), "entries": self._labels.entries},
        }
        return json.dumps(job) + "\n"
