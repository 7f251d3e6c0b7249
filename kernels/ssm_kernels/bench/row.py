"""One measurement as data: what, how fast, where and at which state of the source."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A line of `kernels/results/<op>.jsonl`."""

    op: str
    impl: str
    # `pass` is a keyword of the language; the file spells it so all the same.
    pass_: str
    shape: dict[str, int]
    dtype: str
    ms: float
    ms_low: float
    ms_high: float
    bytes_moved: int
    flops: int
    floor_ms: float
    peak_mib: float
    error: float | None
    device: str
    driver: str
    torch: str
    triton: str
    commit: str
    source_hash: str
    command: str
    date: str
    run: str
    copy_tb_s: float
    matmul_tflop_s: float
    state_mib: float | None = None  # what a layer keeps between tokens, where that is the question

    def as_json(self) -> str:
        """The row as one line."""
        fields = {k: v for k, v in asdict(self).items() if k != "state_mib" or v is not None}
        return json.dumps({"pass" if k == "pass_" else k: v for k, v in fields.items()})

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The row of such a line."""
        fields = json.loads(line)
        return cls(pass_=fields.pop("pass"), **fields)


def whole_row(
    op: str,
    impl: str,
    pass_: str,
    shape: dict[str, int],
    times: tuple[float, float, float, float],
    place: Mapping[str, Any],
    *,
    dtype: str = "bfloat16",
    state_mib: float | None = None,
) -> Row:
    """The row of what stands on all operators and has no floor; `times` end in the peak in MiB."""
    ms, low, high, peak = times
    return Row(
        op=op, impl=impl, pass_=pass_, shape=shape, dtype=dtype, ms=round(ms, 4),
        ms_low=round(low, 4), ms_high=round(high, 4), bytes_moved=0, flops=0, floor_ms=0.0,
        peak_mib=round(peak, 1), error=None, source_hash=operators_hash(PACKAGE),
        state_mib=None if state_mib is None else round(state_mib, 3), **place,
    )  # fmt: skip


def source_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's Python files, first 16 hex digits."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def operators_hash(package: Path) -> str:
    """The same over the sources of all operators, for rows that depend on every one of them."""
    digest = hashlib.sha256()
    for path in sorted(package.glob("*/kernel.py")):
        digest.update(source_hash(path.parent).encode())
    return digest.hexdigest()[:16]


def installed(package: str) -> str:
    """The version of an installed package, or `absent`."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
