"""Landlock: the kernel itself keeps a process's writes in its directory, native code's too.

An audit hook sees what Python opens; `torch.save`, sqlite and other libraries open files by
themselves. Where the kernel has no Landlock (before Linux 5.13, or elsewhere) nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from contextlib import suppress

CREATE, ADD_RULE, RESTRICT = 444, 445, 446
VERSION, BENEATH, NO_NEW_PRIVILEGES = 1, 1, 38
WRITE_FILE, REFER, TRUNCATE = 1 << 1, 1 << 13, 1 << 14
CHANGES = WRITE_FILE | sum(1 << bit for bit in range(4, 13))  # removing and making of every kind


def confine(*folders: str) -> bool:
    """Let this process, and all that it starts, write beneath these folders only.

    Returns whether the kernel took it.
    """
    if not sys.platform.startswith("linux"):
        return False
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        version = libc.syscall(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION))
        if version < 1:
            return False
        changes = CHANGES | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
        wanted = struct.pack("=Q", changes)
        rules = libc.syscall(CREATE, wanted, ctypes.c_size_t(len(wanted)), ctypes.c_uint32(0))
        if rules < 0:
            return False
        for folder in folders:
            place = os.open(folder, os.O_PATH)
            libc.syscall(ADD_RULE, rules, BENEATH, struct.pack("=Qi", changes, place), 0)
            os.close(place)
        taken: int = libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(RESTRICT, rules, 0)
        os.close(rules)
        return taken == 0
    return False
