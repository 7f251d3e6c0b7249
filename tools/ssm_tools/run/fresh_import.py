"""Imports the project's modules from their source, never from bytecode.

Python takes bytecode for current when the source has the same size and the same second of change:
an edit made right after a run would not be seen, and its old result kept under the new hash.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from types import CodeType


class SourceLoader(SourceFileLoader):
    """Compiles a module's source anew."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the module's code."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def install(root: str) -> None:
    """Import everything under `root` by `SourceLoader`, but for environments inside it."""

    def hook(path: str) -> FileFinder:
        inside = path == root or path.startswith(root + os.sep)
        if not inside or "site-packages" in path or not os.path.isdir(path):
            raise ImportError
        return FileFinder(path, (SourceLoader, SOURCE_SUFFIXES))

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
