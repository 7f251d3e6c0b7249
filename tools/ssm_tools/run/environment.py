"""The environment of every run: what the cache key names and what the server is started with."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "triton", "matplotlib", "numpy", "jaxtyping")
SEED = 0
KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
CHILD_SOURCES = (
    "child.py",
    "display.py",
    "ending.py",
    "environment.py",
    "fresh_import.py",
    "labels.py",
    "landlock.py",
    "sandbox.py",
    "server.py",
    "session.py",
    "style.py",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape what a snippet prints."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


@cache
def environment_key() -> str:
    """Return one line that names the environment; results of another one are not used."""
    sources = hashlib.sha256()
    for name in CHILD_SOURCES:
        sources.update((Path(__file__).parent / name).read_bytes())
    words = [f"{name} {found}" for name, found in versions().items()]
    return "; ".join(
        [*words, f"{sys.platform} {platform.machine()}", f"executor {sources.hexdigest()[:12]}"]
    )


def server_variables(root: Path, work: Path, device: str) -> dict[str, str]:
    """Return the environment of the server, fixed but for where programs and libraries lie."""
    tools = Path(__file__).resolve().parents[2]
    fixed = {
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "kernels"), str(tools)]),
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "PYTHONNOUSERSITE": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "COLUMNS": "88",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(root / "build" / "matplotlib"),
        "HOME": str(work),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if device == "cuda":
        # Compilers and drivers are found by many variables, and no two machines use the same.
        inherited = {n: value for n, value in os.environ.items() if n != "TRITON_INTERPRET"}
        paths = [fixed["PYTHONPATH"], inherited.get("PYTHONPATH", "")]
        return inherited | fixed | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    fixed["TRITON_INTERPRET"] = "1"
    fixed["CUDA_VISIBLE_DEVICES"] = ""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | fixed
