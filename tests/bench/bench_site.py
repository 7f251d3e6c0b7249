"""Times builds beside plain Material's, weighs two pages, times the graph: no arguments.

Plain Material builds the same made notes, a site per language as ours, with pruned navigation and
Markdown links in place of wiki-links; times are those of the CPU, in one run. The weight of a page
is the page and every style, script and picture it asks for when it opens, as Chromium fetched them
over HTTP, without and with gzip.
"""

import gzip
import http.server
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import yaml
from bench_notes import FOLDER, make_vault
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
NOTES, MANY = 1_000, 5_000
WIKI = re.compile(r"\[\[note_(\d+)(#[\w-]+)?(?:\|([^\]]*))?\]\]")
EXTENSIONS = ("admonition", "attr_list", "footnotes", "tables", "toc", "pymdownx.arithmatex")
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


def plain_link(match: re.Match[str]) -> str:
    """A wiki-link of the made notes as Markdown."""
    number, fragment, text = match.groups()
    target = f"../topic{int(number) // FOLDER}/note_{number}.md{fragment or ''}"
    return f"[{text or f'note_{number}'}]({target})"


def make_plain(vault: Path, folder: Path) -> list[Path]:
    """Write the notes for plain Material; return a configuration for each language."""
    found = []
    for language in ("ru", "en"):
        docs = folder / language
        for path in (vault / language).rglob("*.md"):
            target = docs / path.relative_to(vault / language)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(WIKI.sub(plain_link, path.read_text(encoding="utf-8")), "utf-8")
        theme = {"name": "material", "language": language, "features": ["navigation.prune"]}
        values = {
            "site_name": "plain", "docs_dir": str(docs), "site_dir": str(folder / "out" / language),
            "use_directory_urls": False, "theme": theme | {"font": False}, "plugins": ["search"],
            "markdown_extensions": [*EXTENSIONS, "pymdownx.highlight", "pymdownx.superfences"],
        }  # fmt: skip
        config = folder / f"{language}.yml"
        config.write_text(yaml.safe_dump(values), encoding="utf-8")
        found.append(config)
    return found


def cpu(*commands: list[str]) -> float:
    """CPU seconds of commands and of all that they start."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    for command in commands:
        subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    return spent() - before


def build_made(root: Path, count: int) -> float:
    """CPU seconds of our site of a made vault."""
    vault = root / f"notes-{count}"
    make_vault(vault, count)
    out = str(root / f"out-{count}")
    return cpu(["ssm_tools.cli", "build", "--vault", str(vault), "--out", out])


def compare() -> None:
    """Our whole site of made notes beside plain Material's, and how it grows."""
    with tempfile.TemporaryDirectory(prefix="bench-made-") as folder:
        root = Path(folder)
        ours = build_made(root, NOTES)
        configs = make_plain(root / f"notes-{NOTES}", root / "plain")
        plain = cpu(*(["mkdocs", "build", "-q", "-f", str(config)] for config in configs))
        many = build_made(root, MANY)
    print(f"site: {f'{NOTES} notes in two languages, ours':52} {ours:8.2f} s (CPU)")
    print(f"site: {f'{NOTES} notes in two languages, plain Material':52} {plain:8.2f} s (CPU)")
    line(f"{NOTES} notes, ours over plain Material", ours / plain, "", 1.3)
    growth = many / ours / (MANY / NOTES)
    line(f"{MANY} notes over {NOTES}, CPU time a note", growth, "", 1.3)


def main() -> None:
    compare()
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
