"""The peers that can be imported: a column appears when its package does."""

import importlib
import sys
from collections.abc import Callable
from typing import Any


def imported(module: str, name: str) -> Callable[..., Any] | None:
    """`name` of `module`, or None where the import fails; the reason goes to stderr."""
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        print(f"no peer {module}.{name}: {error}", file=sys.stderr)
        return None
    return found
