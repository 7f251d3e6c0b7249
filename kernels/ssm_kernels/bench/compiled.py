"""`torch.compile` of the definitions, each operator in a process that is given up when it is late.

`python -m ssm_kernels.bench.compiled OP` reads what its rows share from stdin, as JSON, and prints
one row a line as it comes.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ssm_kernels.bench.cases import HEADLINE
from ssm_kernels.bench.measure import measure
from ssm_kernels.bench.peers import COMPILED
from ssm_kernels.bench.row import Row

LIMIT = 90.0  # seconds an operator


def compiled_rows(
    ops: Sequence[str], place: Mapping[str, Any], left: Callable[[], float]
) -> Iterator[Row]:
    """The rows of each operator's headline cases, while time is left."""
    for op in HEADLINE:
        if op in ops and left() > 0:
            command = [sys.executable, "-m", "ssm_kernels.bench.compiled", op]
            lines = until(command, json.dumps(dict(place)), min(LIMIT, left()))
            yield from map(Row.from_json, lines)


def until(command: list[str], given: str, seconds: float) -> list[str]:
    """The lines that a process prints in so many seconds; then it is stopped, as stderr says."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        out, _ = process.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        print(f"given up after {seconds:.0f} s: {' '.join(command[2:])}", file=sys.stderr)
    return [line for line in out.splitlines() if line.startswith("{")]


def main(argv: list[str]) -> int:
    """Measure one operator's definition."""
    place = json.load(sys.stdin)
    for make in HEADLINE[argv[0]]:
        case = make()
        if COMPILED in case.impls:
            for row in measure(case, place, [COMPILED]):
                print(row.as_json(), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
