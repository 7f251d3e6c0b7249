"""One snippet in one fresh process: run its cells, keep what it showed, say how it ended."""

from __future__ import annotations

import ast
import json
import os
import random
import sys
import tempfile
import threading
import time
import traceback
import types
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ssm_tools.run import display, sandbox, style
from ssm_tools.run.environment import SEED

OUTPUT_LIMIT = 1_000_000
FILE_LIMIT = 32 * sandbox.MIB
FUTURES = 0x1FF0000  # the compiler flags that `from __future__` sets for later statements


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
        if self.job["cells"][self.cell]["kind"] == "shown":
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
                data = os.pread(descriptor, end - start, start).decode("utf-8", "replace")
                if name == "stdout":
                    self.spoken.append((self.line, data))
                self._add({"kind": "text", "data": data, "name": "" if name == "stdout" else name})


def run_job(job: dict[str, Any], progress: Any, pipe: int) -> None:
    """Run one job in this process, write the report to `pipe` and end the process."""
    start, before, owner = time.perf_counter(), frozenset(sys.modules), os.getpid()
    streams = _prepare(job)
    session = Session(job, progress, streams)
    box = sandbox.Sandbox(job["root"], job["directory"], job["options"]["device"] == "cuda")
    memory = 0 if job["options"]["device"] == "cuda" else job["options"]["memory"]
    sandbox.limit_resources(job["options"]["timeout"], memory, FILE_LIMIT)
    warnings.showwarning = session.warn
    sys.addaudithook(box.hook)
    with Caught() as caught:
        _run_cells(session)
    if os.getpid() != owner:
        os._exit(0)
    if caught.error is not None:
        _fail_by(session, caught)
    _check_end(session)
    report = {
        "outputs": session.outputs,
        "spoken": session.spoken,
        "warned": session.warned,
        "problem": session.problem,
        "dependencies": sorted(box.dependencies(before)),
        "seconds": time.perf_counter() - start,
    }
    data = json.dumps(report).encode()
    while data:
        data = data[os.write(pipe, data) :]
    os._exit(0)


def _prepare(job: dict[str, Any]) -> dict[str, int]:
    """Give the process its own directory, streams, seeds and print options."""
    directory = Path(job["directory"])
    streams = {}
    for number, name in ((1, "stdout"), (2, "stderr")):
        # O_APPEND: a snippet that opens the stream anew must not write over what is there.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        streams[name] = os.open(directory / name, flags, 0o600)
        os.dup2(streams[name], number)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for name in ("work", "home", "temporary"):
        (directory / name).mkdir()
    os.chdir(directory / "work")
    os.environ["HOME"] = str(directory / "home")
    os.environ["TRITON_CACHE_DIR"] = str(directory / "home" / "triton")
    os.environ["TMPDIR"] = tempfile.tempdir = str(directory / "temporary")
    sys.argv = [job["path"]]
    random.seed(SEED)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(SEED)
        numpy.set_printoptions(precision=4, suppress=True, linewidth=88)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(SEED)
        torch.set_printoptions(precision=4, linewidth=88, sci_mode=False)
    if matplotlib := sys.modules.get("matplotlib"):
        style.apply(matplotlib, matplotlib.cycler)
    return streams


def _run_cells(session: Session) -> None:
    """Run every cell; an error that a cell must raise ends that cell and is shown."""
    module = types.ModuleType("__main__")
    module.__dict__["__file__"] = session.job["path"]
    sys.modules["__main__"] = module
    anywhere = session.job["options"]["raises"]
    for number, cell in enumerate(session.job["cells"]):
        session.cell = number
        expected = cell["raises"] or anywhere
        with Caught() as caught:
            _run_cell(session, cell, module)
        if session.problem is not None:
            return
        if caught.error is None:
            if cell["raises"]:
                session.fail("S008", f"{cell['raises']} was expected and did not come")
                return
            continue
        names = [kind.__name__ for kind in type(caught.error).__mro__]
        if expected not in names:
            raise caught.error
        session.raised = True
        session.show({"kind": "error", "data": _last_lines(caught.error), "name": names[0]})
    if anywhere and not session.raised:
        session.fail("S008", f"{anywhere} was expected and did not come")


def _run_cell(session: Session, cell: dict[str, Any], module: types.ModuleType) -> None:
    source = "\n" * (cell["line"] - 1) + cell["code"]
    session.at(cell["line"])
    path = session.job["path"]
    tree = compile(source, path, "exec", ast.PyCF_ONLY_AST | session.flags, dont_inherit=True)
    for number, statement in enumerate(tree.body):
        session.at(getattr(statement, "lineno", cell["line"]))
        value = None
        last = number == len(tree.body) - 1 and cell["kind"] == "shown"
        if last and isinstance(statement, ast.Expr):
            expression = ast.Expression(statement.value)
            code = compile(expression, path, "eval", session.flags, dont_inherit=True)
            value = eval(code, module.__dict__)
        else:
            block = ast.Module([statement], [])
            code = compile(block, path, "exec", session.flags, dont_inherit=True)
            session.flags |= code.co_flags & FUTURES
            exec(code, module.__dict__)
        _after_statement(session, value)
        if session.problem is not None:
            return
    for line, figure in session.figures.values():
        session.at(line)
        session.show(display.figure(figure))
    session.figures.clear()
    display.close_figures()


def _after_statement(session: Session, value: object) -> None:
    """Show what the statement printed, returned and drew."""
    session.read_streams()
    for figure in display.open_figures():
        session.figures.setdefault(id(figure), (session.line, figure))
    if value is not None and not _belongs_to_figure(value):
        session.figures.pop(id(value), None)
        output = display.display(value)
        session.show(output)
        if output["kind"] == "repr":
            session.spoken.append((session.line, output["data"] + "\n"))
    if not session.threads_line and threading.active_count() > 1:
        session.threads_line = session.line


def _belongs_to_figure(value: object) -> bool:
    """Return whether a value is what a drawing call gives back: the figure itself is shown."""
    values = value if isinstance(value, list | tuple) else [value]
    return bool(values) and all(
        type(item).__module__.startswith("matplotlib.") and not hasattr(item, "savefig")
        for item in values
    )


def _fail_by(session: Session, caught: Caught) -> None:
    """Turn the exception that ended the snippet into its problem, at the snippet's own line."""
    error = caught.error
    assert error is not None
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename == session.job["path"]]
    line = (own[-1] if own else 0) or session.line
    text = _last_lines(error)
    if isinstance(error, SyntaxError) and error.filename == session.job["path"]:
        session.fail("S010", text, error.lineno or line)
    elif isinstance(error, SystemExit):
        session.fail("S002", f"the snippet ended the process (exit {error.code!r})", line)
    elif isinstance(error, MemoryError) or "can't allocate memory" in text:
        limit = session.job["options"]["memory"]
        session.fail("S005", f"it needs more than {limit} MiB of memory (option memory=)", line)
    elif isinstance(error, OSError) and error.errno == 27:  # EFBIG
        session.fail("S006", f"more than {OUTPUT_LIMIT:,} bytes were printed or written", line)
    elif isinstance(error, sandbox.OutsideError):
        session.fail("S012", str(error), line)
    else:
        raised = frames[-1] if frames else None
        root = session.job["root"] + os.sep
        if raised and raised.filename != session.job["path"] and raised.filename.startswith(root):
            text += f" (raised at {raised.filename[len(root) :]}:{raised.lineno})"
        session.fail("S001", text, line)


def _check_end(session: Session) -> None:
    """Look for what a snippet may not leave behind or forgot to do."""
    with Caught():
        session.read_streams()
    if session.threads_line:
        alive = [thread for thread in threading.enumerate() if thread.name != "MainThread"]
        if alive:
            session.fail(
                "S011", f"threads were left running: {alive[0].name}", session.threads_line
            )
    expected = session.job["options"]["warns"]
    for warning in session.warned:
        if expected not in warning["names"]:
            text = f"an uncaught warning: {warning['names'][0]}: {warning['text']}"
            session.fail("S007", text, warning["line"])
    if expected and not session.warned:
        session.fail("S008", f"{expected} was expected and did not come")


def _last_lines(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return "".join(traceback.format_exception_only(error)).strip()
