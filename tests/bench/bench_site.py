"""Builds the project's own site with a warm cache and weighs two of its pages: no arguments.

The weight of a page is the page and every style, script and picture it asks for when it opens, as
Chromium fetched them over HTTP, without and with gzip.
"""

import gzip
import http.server
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
CONCEPT, GRAPH = "ru/ssm/selective/mamba.html", "en/graph.html"


def line(name: str, value: float, unit: str, target: float) -> None:
    verdict = "reached" if value < target else "MISSED"
    print(f"site: {name:52} {value:8.2f} {unit:4} target < {target:g} {verdict}")


def notes(*words: str) -> None:
    command = [sys.executable, "-m", "ssm_tools.cli", *words]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(site: Path) -> Iterator[str]:
    """Serve a site on this machine; yields its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def fetched(site: Path, page: str) -> list[bytes]:
    """Bodies of everything that opening a page asks for."""
    with serving(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        tab, answers = browser.new_page(), []
        tab.on("response", lambda answer: answers.append(answer))
        tab.goto(f"{address}/{page}", wait_until="networkidle")
        bodies = [answer.body() for answer in answers if answer.ok]
        browser.close()
    return bodies


def packed(bodies: list[bytes]) -> float:
    """Kilobytes after gzip, file by file, as a web server sends them."""
    return sum(len(gzip.compress(body)) for body in bodies) / 1000


def main() -> None:
    notes("run")
    with tempfile.TemporaryDirectory(prefix="bench-site-") as folder:
        out = Path(folder) / "site"
        start = time.perf_counter()
        notes("run")
        notes("build", "--out", str(out))
        line("run and build, warm cache", time.perf_counter() - start, "s", 30)
        if not CHROMIUM.exists():
            print("site: page weights                left out: Chromium is missing")
            return
        concept = fetched(out, CONCEPT)
        line("concept page, as it lies", sum(map(len, concept)) / 1000, "KB", 300)
        line("concept page, gzipped", packed(concept), "KB", 300)
        graph = fetched(out, GRAPH)
        line("graph page with its data, gzipped", packed(graph), "KB", 100)


if __name__ == "__main__":
    main()
