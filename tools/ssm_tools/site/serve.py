"""A server for one reader: serves the site, watches its sources, rebuilds, reloads the page.

An edit of a note's text is shown at once: its page alone is made anew by a process that keeps the
sources (`live`). The whole site is built after that in the background, for what depends on it.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from functools import partial
from hashlib import blake2b
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ssm_tools.site.config import SiteConfig

PAUSE = 0.4  # seconds between looks at the sources
QUIET = 2.5  # seconds without an edit before the whole site is built
PATIENCE = 1.0  # seconds that an answer waits while one site takes the place of another
WATCHED = ("docs", "ssm_ref", "kernels", "tools/ssm_tools/site", "build/tests.json", "mkdocs.yml")
_LIVE = b'<script>window.SSM_LIVE="%s"</script></head>'


def snapshot(config: SiteConfig) -> dict[str, int]:
    """Return the time of the last change of every source."""
    roots = [config.vault] if not config.project else [config.root / name for name in WATCHED]
    found: dict[str, int] = {}
    for root in roots:
        paths = [root] if root.is_file() else root.rglob("*") if root.is_dir() else ()
        for path in paths:
            if "__pycache__" in path.parts or path.name.startswith("."):
                continue
            try:
                if path.is_file():
                    found[str(path)] = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue  # deleted while we look: the next look sees that
    return found


def rebuild(config: SiteConfig, changed: set[str]) -> subprocess.Popen[bytes]:
    """Build in a process of its own, so that edited tools count too; run touched snippets first."""
    command = [sys.executable, "-m", "ssm_tools.cli"]
    if config.project:
        code = (".py", ".jsonl")
        if not changed or any(name.endswith(code) for name in changed):
            subprocess.run([*command, "run", "--root", str(config.root)], check=False)
        arguments = ["build", "--root", str(config.root), "--out", str(config.out)]
    else:
        arguments = ["build", "--vault", str(config.vault), "--out", str(config.out)]
        arguments += ["--language", config.default_language]
    return subprocess.Popen([*command, *arguments])


class Handler(SimpleHTTPRequestHandler):
    """Serves files, adds the reload mark to pages, and tells what a page is now."""

    def do_GET(self) -> None:
        """Answer one request."""
        address = urlsplit(self.path)
        if address.path == "/__built":
            page = self._page(unquote(address.query))
            self._send(stamp(page).encode() if page else b"", "text/plain")
            return
        page = self._page(address.path)
        if page is None and not self._waited().exists():
            self._lost(address.path)
        elif page is None:
            super().do_GET()
        else:
            mark = _LIVE % stamp(page).encode()
            data = page.read_bytes().replace(b"</head>", mark, 1)
            self._send(data, "text/html; charset=utf-8")

    def _page(self, address: str) -> Path | None:
        path = Path(self.translate_path(address))
        if address.endswith("/"):
            path /= "index.html"
        self._waited(path)
        return path if path.suffix == ".html" and path.is_file() else None

    def _waited(self, path: Path | None = None) -> Path:
        """The file of a request, after a site that is being swapped is there again."""
        path = path or Path(self.translate_path(self.path))
        end = time.monotonic() + PATIENCE
        while not Path(self.directory).is_dir() and time.monotonic() < end:
            time.sleep(0.02)
        return path

    def _lost(self, address: str) -> None:
        """Show the site's own page for addresses that it does not have, in the right language."""
        root = Path(self.directory)
        wanted = [address.strip("/").partition("/")[0]]
        asked = self.headers.get("Accept-Language", "")
        wanted += [word.strip()[:2] for word in asked.split(",") if word.strip()]
        wanted += ["en", "", *sorted(path.name for path in root.iterdir() if path.is_dir())]
        language = next((w for w in wanted if (root / w / "404.html").is_file()), None)
        if language is None:
            self.send_error(404)
            return
        base = f'<head><base href="/{language + "/" if language else ""}404.html">'.encode()
        data = (root / language / "404.html").read_bytes().replace(b"<head>", base, 1)
        self._send(data, "text/html; charset=utf-8", 404)

    def _send(self, data: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet: the builds are what the terminal is for."""


def stamp(page: Path) -> str:
    """Return what changes when a page, or what all pages load, changes."""
    found = blake2b(page.read_bytes(), digest_size=8)
    for folder in page.parents:
        assets = sorted((folder / "assets").glob("*.*"))
        if (folder / "assets" / "ssm.js") in assets:
            for asset in assets:
                found.update(asset.read_bytes())
            break
    return found.hexdigest()


def listen(config: SiteConfig, port: int) -> ThreadingHTTPServer:
    """Return a server on the port, on another free one where it is taken."""
    handler = partial(Handler, directory=os.fspath(config.out))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)


def keep(config: SiteConfig, pipe: Connection) -> None:
    """Keep the sources of the site and answer each set of edited files with the pages made."""
    from ssm_tools.site.live import LiveSite

    site = LiveSite(config)
    while True:
        try:
            changed = pipe.recv()
        except EOFError:
            return
        pipe.send(site.update(changed))


class Quick:
    """The process that makes single pages; started anew when more than a note changed."""

    def __init__(self, config: SiteConfig) -> None:
        self.config = config
        self.start()

    def start(self) -> None:
        """Start with the sources as they are now."""
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=keep, args=(self.config, other), daemon=True)
        self.process.start()
        other.close()

    def restart(self) -> None:
        """Forget the sources and read them again."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()

    def update(self, changed: set[str]) -> list[str] | None:
        """Return the pages that were made, None where the whole site must be built."""
        if not all(name.lower().endswith(".md") for name in changed):
            return None
        try:
            self.pipe.send(changed)
            made: list[str] | None = self.pipe.recv()
        except (EOFError, OSError):
            return None  # it ended on what it was given; the build will say why
        return made


class Watcher:
    """Looks at the sources and sees to it that the site follows them."""

    def __init__(self, config: SiteConfig) -> None:
        self.config = config
        self.before = snapshot(config)
        self.quick = Quick(config)
        self.waiting: set[str] = set()  # edits that no finished build has seen
        self.building: set[str] = set()
        self.build: subprocess.Popen[bytes] | None = None
        self.last = 0.0
        self.urgent = False  # the next build cannot wait
        self.outdated = False  # what the quick process keeps is not what the sources are

    def look(self) -> None:
        """Show what was edited since the last look, and start or end a build that is due."""
        now = snapshot(self.config)
        names = self.before.keys() | now
        changed = {name for name in names if self.before.get(name) != now.get(name)}
        self.before = now
        if changed:
            self.edited(changed)
        if self.build is not None and self.build.poll() is not None:
            self.ended(self.build.returncode == 0)
        due = self.urgent or time.monotonic() - self.last > QUIET
        if self.build is None and self.waiting and due:
            self.building, self.waiting, self.urgent = self.waiting, set(), False
            self.build = rebuild(self.config, self.building)

    def edited(self, changed: set[str]) -> None:
        """Make the pages of edited notes at once where that can be; the site later."""
        print(f"changed: {', '.join(sorted(changed)[:3])}", flush=True)
        start = time.monotonic()
        made = self.quick.update(changed)
        self.waiting |= changed
        self.last = time.monotonic()
        if made is None:
            self.urgent = self.outdated = True
        else:
            seconds = self.last - start
            print(f"{len(made)} pages made in {seconds:.1f} s; the site follows", flush=True)

    def ended(self, built: bool) -> None:
        """After a build: the pages of edits that it did not see are made again."""
        self.build = None
        self.building = set()
        if not built:
            return
        if self.outdated:
            self.outdated = False
            self.quick.restart()
        elif self.waiting and self.quick.update(self.waiting) is None:
            self.urgent = self.outdated = True


def serve(config: SiteConfig, port: int) -> int:
    """Build, serve and watch until interrupted; return 1 where there is no site to serve."""
    built = rebuild(config, set()).wait() == 0
    if not built and not (config.out / "index.html").is_file():
        return 1
    server = listen(config, port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"Serving http://127.0.0.1:{server.server_port}/ (stop with Ctrl+C)", flush=True)
    watcher = Watcher(config)
    try:
        while True:
            time.sleep(PAUSE)
            watcher.look()
    except KeyboardInterrupt:
        server.shutdown()
        return 0
    finally:
        watcher.quick.stop()
        if watcher.build is not None:
            watcher.build.terminate()
