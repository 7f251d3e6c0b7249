"""Time the executor on a made project: `python tests/bench/bench_run.py [snippets]`.

Prints lines `name value target`. Cold includes the start of the fork server, on every processor.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from snippet_corpus import MODULES, write_corpus

from ssm_tools.run import Outcome, Settings, run_snippets

PAGES = 30


def timed(root: Path, settings: Settings | None = None) -> tuple[float, list[Outcome]]:
    """Run everything that is not fresh; return seconds and outcomes."""
    start = time.perf_counter()
    outcomes = run_snippets(root, settings=settings)
    return time.perf_counter() - start, outcomes


def pages_run(outcomes: list[Outcome]) -> set[str]:
    """Return the pages of which something ran."""
    return {outcome.snippet.page for outcome in outcomes if not outcome.cached}


def main() -> int:
    """Print every figure with its target; return 1 if one misses it."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory(prefix="bench-run-") as folder:
        root = Path(folder)
        write_corpus(root, PAGES, count)
        cold, outcomes = timed(root)
        failed = [finding for outcome in outcomes for finding in outcome.findings]
        warm, again = timed(root)
        module = root / "ssm_ref" / "made" / "module_3.py"
        module.write_text(module.read_text() + "\n# edited\n")
        edited, after = timed(root)
        wanted = {f"page_{page:02}" for page in range(PAGES) if page % MODULES == 3}
        module.write_text(module.read_text().removesuffix("\n# edited\n"))
        back, restored = timed(root)
    rows = [
        (f"cold, {count} snippets in {PAGES} pages", f"{cold:.1f} s", "< 60 s", cold < 60),
        ("failed", str(len(failed)), "0", not failed),
        ("warm", f"{warm:.2f} s", "< 1 s", warm < 1 and not pages_run(again)),
        (
            "edit of a module: pages rerun",
            str(len(pages_run(after))),
            str(len(wanted)),
            pages_run(after) == wanted,
        ),
        ("edit of a module: time", f"{edited:.1f} s", "< 15 s", edited < 15),
        ("edit taken back: time", f"{back:.2f} s", "< 1 s", back < 1 and not pages_run(restored)),
    ]
    for name, value, target, holds in rows:
        print(f"run: {name:42} {value:>10}  target {target}{'' if holds else '  MISSED'}")
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
