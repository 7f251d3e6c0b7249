"""The fork server: imports the heavy packages once, then gives every snippet a fresh process.

Started as `python -m ssm_tools.run.server` with jobs as JSON lines on its input; it answers with
one JSON line for each job. It never runs an operation of torch itself: a fork after the thread
pools have started would hang.
"""

from __future__ import annotations

import gc
import importlib
import json
import mmap
import os
import selectors
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ssm_tools.run import fresh_import
from ssm_tools.run.child import run_job

# By name, as the tools import none of these themselves: here they are what the snippets run on.
PRELOADED = ("numpy", "torch", "triton", "matplotlib.pyplot", "jaxtyping")
REPORT_LIMIT = 64 * 1024 * 1024
GRACE = 1.0


@dataclass
class Child:
    """A running snippet: its process, its report so far, and the line that it is at."""

    job: dict[str, Any]
    pid: int
    pipe: int
    progress: mmap.mmap
    deadline: float
    report: bytearray = field(default_factory=bytearray)
    killed: str = ""

    def line(self) -> int:
        """Return the line of the statement that was running last."""
        return int.from_bytes(self.progress[:8], "little")


def preload() -> None:
    """Import what snippets share; a package that is not installed is simply not there."""
    for name in PRELOADED:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def start(job: dict[str, Any]) -> Child:
    """Fork a child for a job."""
    progress = mmap.mmap(-1, mmap.PAGESIZE)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(reading)
        run_job(job, progress, writing)
        os._exit(0)
    with suppress(OSError):
        os.setpgid(pid, pid)
    os.close(writing)
    return Child(job, pid, reading, progress, time.monotonic() + job["options"]["timeout"])


def kill(child: Child, why: str) -> None:
    """Kill a child and everything that it started."""
    child.killed = child.killed or why
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def finish(child: Child) -> dict[str, Any]:
    """Collect a child that has closed its pipe, and say how it ended."""
    deadline = time.monotonic() + GRACE
    status = None
    while status is None:
        pid, found = os.waitpid(child.pid, os.WNOHANG)
        status = found if pid else None
        if status is None and time.monotonic() > deadline:
            kill(child, child.killed or "it closed its report and went on")
            _, status = os.waitpid(child.pid, 0)
        elif status is None:
            time.sleep(0.001)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # whatever it left behind
    os.close(child.pipe)
    with suppress(ValueError):
        # A whole report counts, however long the process then took to let go of its device.
        return {"id": child.job["id"]} | dict(json.loads(bytes(child.report)))
    code, message = how_it_ended(child, status)
    problem = {"code": code, "message": message, "line": child.line()}
    return {"id": child.job["id"], "problem": problem}


def how_it_ended(child: Child, status: int) -> tuple[str, str]:
    """Return the code and the words for a child that sent no whole report."""
    limit = f"{child.job['options']['timeout']:g} s (option timeout=)"
    if child.killed:
        return "S004", child.killed
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return "S004", f"it used more than {limit} of CPU time"
        return "S003", f"the process crashed ({signal.Signals(number).name})"
    code = os.waitstatus_to_exitcode(status)
    return "S002", f"the snippet ended the process (exit {code})"


def answer(reply: dict[str, Any]) -> None:
    """Send one reply to the client."""
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def serve(jobs: int) -> None:
    """Read jobs until the input ends, run up to `jobs` at a time, answer as they end."""
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    waiting: deque[dict[str, Any]] = deque()
    children: list[Child] = []
    buffered, is_open = b"", True
    while is_open or waiting or children:
        while waiting and len(children) < jobs:
            child = start(waiting.popleft())
            children.append(child)
            selector.register(child.pipe, selectors.EVENT_READ, child)
        soonest = min((child.deadline for child in children), default=time.monotonic() + 60)
        for key, _ in selector.select(max(0.0, soonest - time.monotonic())):
            data = os.read(key.fd, 1 << 20)
            child = key.data
            if child is None:
                buffered += data
                *lines, buffered = buffered.split(b"\n")
                waiting.extend(json.loads(line) for line in lines)
                if not data:
                    selector.unregister(key.fd)
                    is_open = False
            elif data and len(child.report) < REPORT_LIMIT:
                child.report += data
            else:
                selector.unregister(child.pipe)
                children.remove(child)
                answer(finish(child))
        for child in children:
            if time.monotonic() > child.deadline:
                kill(child, f"it ran longer than {child.job['options']['timeout']:g} s (timeout=)")
                child.deadline += 60


if __name__ == "__main__":
    preload()
    fresh_import.install(sys.argv[2])
    serve(int(sys.argv[1]))
    os._exit(0)  # an orderly end would only unload the packages, slowly and with complaints
