"""What a snippet may touch: an audit hook that keeps it in its directory and notes what it reads.

It catches accidents; it is no security boundary.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from dataclasses import dataclass, field
from typing import Any

NETWORK = frozenset(
    {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
)
PROCESSES = frozenset(
    {"os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system", "subprocess.Popen"}
)
CHANGES = frozenset(
    {
        "os.chmod",
        "os.chown",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.truncate",
        "os.utime",
    }
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SKIPPED = ("build", "site", "dist", "node_modules")
MIB = 1024 * 1024


class OutsideError(PermissionError):
    """A snippet reached for something that it may not have."""


@dataclass
class Sandbox:
    """The audit hook's state: where the snippet may write, and the project files it opened."""

    root: str
    directory: str
    processes: bool = False
    opened: set[str] = field(default_factory=set)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """Refuse or note one audited event."""
        if event == "open":
            self._opening(*args)
        elif event in NETWORK:
            if not _is_local(args):
                raise OutsideError("a snippet may not use the network")
        elif event in PROCESSES:
            if not self.processes:
                raise OutsideError(f"a snippet may not start processes ({event})")
        elif event in CHANGES:
            for argument in args[: 2 if event in ("os.rename", "os.link") else 1]:
                self._changing(argument, args[-1] if isinstance(args[-1], int) else -1)

    def _opening(self, path: object, mode: object, flags: object) -> None:
        if isinstance(path, int) or path is None:
            return
        if isinstance(flags, int) and flags & WRITING:
            self._changing(path, -1)
        name = _absolute(path, -1)
        if self.is_project(name):
            self.opened.add(name)

    def _changing(self, path: object, directory: int) -> None:
        if isinstance(path, int):
            return
        name = _absolute(path, directory)
        inside = name == self.directory or name.startswith(self.directory + os.sep)
        if not (inside or name.startswith("/dev/") or f"{os.sep}__pycache__" in name):
            raise OutsideError(f"a snippet may not write outside its directory ({name})")

    def is_project(self, name: str) -> bool:
        """Return whether a result depends on this file: a source of the project, not a product."""
        if not name.startswith(self.root + os.sep) or "__pycache__" in name:
            return False
        first = name[len(self.root) + 1 :].partition(os.sep)[0]
        return not (first.startswith(".") or first in SKIPPED or os.path.isdir(name))

    def dependencies(self, before: frozenset[str]) -> set[str]:
        """Return the project files opened or imported, given the modules loaded `before`."""
        files = set(self.opened)
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if name not in before and path and self.is_project(path := os.path.realpath(path)):
                files.add(path)
        return files


def _absolute(path: object, directory: int) -> str:
    name = os.fsdecode(path)  # type: ignore[arg-type]
    if directory >= 0 and not os.path.isabs(name):
        with contextlib.suppress(OSError):
            name = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), name)
    return os.path.realpath(name)


def _is_local(args: tuple[Any, ...]) -> bool:
    """Return whether an address is a path of this machine (a Unix socket)."""
    return len(args) > 1 and isinstance(args[1], str | bytes) and args[1][:1] in ("/", b"/")


def limit_resources(seconds: float, memory: int, file_size: int) -> None:
    """Limit this process: CPU seconds, MiB of memory beyond what it has, bytes of any one file."""
    cpu = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory and os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        limit = pages * resource.getpagesize() + memory * MIB
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
