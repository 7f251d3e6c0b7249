"""The state of one run: where it is, what it has shown, and the problem that ended it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

OUTPUT_LIMIT, SHOWN_LIMIT = 1_000_000, 8_000_000
ERASE = r"\x1b\[[02]?K"  # what stands from the cursor on, or the whole line
ESCAPE = re.compile(rf"(?!{ERASE})\x1b(?:\[[0-?]*[ -/]*[@-~]|\].*?(?:\x07|\x1b\\)|.)", re.DOTALL)
MOVE = re.compile(rf"(\r|\x08|{ERASE})")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def as_on_a_terminal(text: str) -> str:
    """Return what a terminal leaves on screen, without colours: a page has no cursor.

    `\\r` starts the line over, a backspace goes back, and what is erased is gone (progress bars);
    other escape sequences go, and a character that cannot stand in HTML becomes U+FFFD.
    """
    lines = ESCAPE.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(CONTROL.sub("\ufffd", _overwritten(line)) for line in lines)


def _overwritten(line: str) -> str:
    kept, place = "", 0
    for part in MOVE.split(line):
        if part == "\r":
            place = 0
        elif part == "\b":
            place = max(0, place - 1)
        elif part.startswith("\x1b["):
            kept = "" if part == "\x1b[2K" else kept[:place]
        elif part:
            kept = kept[:place].ljust(place) + part + kept[place + len(part) :]
            place += len(part)
    return kept


@dataclass
class Caught:
    """Keeps whatever leaves the `with` block: a snippet may raise or exit as it likes."""

    kind: type[BaseException] | None = None
    error: BaseException | None = None
    trace: TracebackType | None = None

    def __enter__(self) -> Caught:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.kind, self.error, self.trace = kind, error, trace
        return True


@dataclass
class Session:
    """One run: where it is, what it has shown, and the problem that ended it."""

    job: dict[str, Any]
    progress: Any
    streams: dict[str, int]
    line: int = 0
    cell: int = 0
    flags: int = 0
    positions: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0})
    outputs: list[dict[str, Any]] = field(default_factory=list)
    spoken: list[tuple[int, str]] = field(default_factory=list)
    warned: list[dict[str, Any]] = field(default_factory=list)
    problem: dict[str, Any] | None = None
    figures: dict[int, tuple[int, Any]] = field(default_factory=dict)
    threads_line: int = 0
    shown: int = 0
    raised: bool = False

    def at(self, line: int) -> None:
        """Note the line of the statement that starts: the server reads it if we die."""
        self.line = line
        self.progress[:8] = line.to_bytes(8, "little")

    def fail(self, code: str, message: str, line: int = 0) -> None:
        """Keep the first problem."""
        if self.problem is None:
            self.problem = {"code": code, "message": message, "line": line or self.line}

    def warn(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: object = None,
        line: str | None = None,
    ) -> None:
        """Stand in for `warnings.showwarning`."""
        where = lineno if filename == self.job["path"] else self.line
        names = [kind.__name__ for kind in category.__mro__ if issubclass(kind, Warning)]
        self.warned.append({"names": names, "text": str(message), "line": where})
        self.show({"kind": "text", "data": f"{names[0]}: {message}\n", "name": names[0]})

    def show(self, output: dict[str, Any]) -> None:
        """Add one output of the current statement, after what it has printed so far."""
        self.read_streams()
        self._add(output)

    def _add(self, output: dict[str, Any]) -> None:
        self.shown += len(output["data"]) + len(output.get("data_dark") or "")
        if self.shown > SHOWN_LIMIT:
            self.fail("S006", f"more than {SHOWN_LIMIT:,} bytes would be shown")
        elif self.job["cells"][self.cell]["kind"] == "shown":
            self.outputs.append(output | {"cell": self.cell, "line": self.line})

    def read_streams(self) -> None:
        """Move what was written since the last look into the outputs."""
        for name, descriptor in self.streams.items():
            getattr(sys, name).flush()
            end = os.fstat(descriptor).st_size
            start, self.positions[name] = self.positions[name], end
            if end > OUTPUT_LIMIT:
                self.fail("S006", f"more than {OUTPUT_LIMIT:,} bytes were printed")
            elif end > start:
                written = os.pread(descriptor, end - start, start).decode("utf-8", "replace")
                data = as_on_a_terminal(written)
                if name == "stdout":
                    self.spoken.append((self.line, data))
                self._add({"kind": "text", "data": data, "name": "" if name == "stdout" else name})
