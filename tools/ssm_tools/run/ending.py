"""How a run ended: the code, the words and the line of what went wrong."""

from __future__ import annotations

import errno
import os
import threading
import traceback

from ssm_tools.run import sandbox
from ssm_tools.run.session import OUTPUT_LIMIT, Caught, Session


def fail_by(session: Session, caught: Caught) -> None:
    """Turn the exception that ended the snippet into its problem, at the snippet's own line."""
    error = caught.error
    assert error is not None
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename == session.job["path"]]
    line = (own[-1] if own else 0) or session.line
    text = last_lines(error)
    if isinstance(error, SyntaxError) and error.filename == session.job["path"]:
        session.fail("S010", text, error.lineno or line)
    elif isinstance(error, SystemExit):
        session.fail("S002", f"the snippet ended the process (exit {error.code!r})", line)
    elif isinstance(error, MemoryError) or "can't allocate memory" in text:
        limit = session.job["options"]["memory"]
        session.fail("S005", f"it needs more than {limit} MiB of memory (option memory=)", line)
    elif isinstance(error, OSError) and error.errno == errno.EFBIG:
        session.fail("S006", f"more than {OUTPUT_LIMIT:,} bytes were printed or written", line)
    elif outside := _outside(error):
        session.fail("S012", str(outside), line)
    else:
        raised = frames[-1] if frames else None
        root, ours = session.job["root"] + os.sep, os.path.dirname(__file__) + os.sep
        where = raised.filename if raised else ""
        if raised and where.startswith(root) and where != session.job["path"] and ours not in where:
            text += f" (raised at {raised.filename[len(root) :]}:{raised.lineno})"
        session.fail("S001", text, line)


def _outside(error: BaseException | None) -> BaseException | None:
    """Return the sandbox's refusal, if that is what an error comes from."""
    while error is not None and not isinstance(error, sandbox.OutsideError):
        error = error.__cause__ or error.__context__
    return error


def check_end(session: Session) -> None:
    """Look for what a snippet may not leave behind or forgot to do."""
    with Caught():
        session.read_streams()
    if session.job["options"]["device"] == "cpu" and _has_children():
        session.fail("S012", "a snippet may not start processes (one was left)")
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


def _has_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def last_lines(error: BaseException) -> str:
    """Return what a traceback ends with."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return "".join(traceback.format_exception_only(error)).strip()
