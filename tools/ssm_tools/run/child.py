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
import types
import warnings
from pathlib import Path
from typing import Any

from ssm_tools.run import display, landlock, sandbox, style
from ssm_tools.run.ending import check_end, fail_by, last_lines
from ssm_tools.run.environment import SEED
from ssm_tools.run.labels import Labels
from ssm_tools.run.session import Caught, Session

FILE_LIMIT = 32 * sandbox.MIB
FUTURES = 0x1FF0000  # the compiler flags that `from __future__` sets for later statements


def run_job(job: dict[str, Any], progress: Any, pipe: int) -> None:
    """Run one job in this process, write the report to `pipe` and end the process."""
    start, before, owner = time.perf_counter(), frozenset(sys.modules), os.getpid()
    streams = _prepare(job)
    session = Session(job, progress, streams)
    on_gpu = job["options"]["device"] == "cuda"
    box = sandbox.Sandbox(job["root"], job["directory"], on_gpu)
    memory = 0 if on_gpu else job["options"]["memory"]
    if not on_gpu:  # drivers and compilers write where they like
        landlock.confine(job["directory"], "/dev")
    sandbox.limit_resources(job["options"]["timeout"], memory, FILE_LIMIT)
    warnings.showwarning = session.warn
    sys.addaudithook(box.hook)
    with Caught() as caught:
        _run_cells(session)
    if os.getpid() != owner:
        os._exit(0)
    if caught.error is not None:
        fail_by(session, caught)
    check_end(session)
    report = {
        "outputs": session.outputs,
        "spoken": session.spoken,
        "warned": session.warned,
        "problem": session.problem,
        "dependencies": sorted(box.dependencies(before)),
        "seconds": time.perf_counter() - start,
        "on_gpu": _used_gpu(),
    }
    data = json.dumps(report).encode()
    while data:
        data = data[os.write(pipe, data) :]
    os._exit(0)


def _used_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


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
        session.show({"kind": "error", "data": last_lines(caught.error), "name": names[0]})
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
        session.show(display.figure(figure, _labels(session)))
    session.figures.clear()
    display.close_figures()


def _labels(session: Session) -> Labels:
    found = session.job["labels"]
    return Labels(frozenset(found["names"]), found["entries"])


def _after_statement(session: Session, value: object) -> None:
    """Show what the statement printed, returned and drew."""
    session.read_streams()
    for figure in display.open_figures():
        session.figures.setdefault(id(figure), (session.line, figure))
    if value is not None and not _belongs_to_figure(value):
        session.figures.pop(id(value), None)
        output = display.display(value, _labels(session))
        session.show(output)
        if output["kind"] == "repr" and display.ADDRESS.search(output["data"]):
            session.fail("S013", "the value shows a memory address, another in every run")
        if output["kind"] == "repr" and session.problem is None:
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
