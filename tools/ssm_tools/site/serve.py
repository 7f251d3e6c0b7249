"""A server for one reader: serves the site, watches its sources, rebuilds, reloads the page."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ssm_tools.site.config import SiteConfig

PAUSE = 0.7  # seconds between looks at the sources
WATCHED = ("docs", "ssm_ref", "kernels", "tools/ssm_tools/site", "build/tests.json", "mkdocs.yml")
_LIVE = b'<script>window.SSM_LIVE="%s"</script></head>'


class Live:
    """When the site was last built; pages ask for it and reload when it changes."""

    def __init__(self) -> None:
        self.stamp = str(time.time_ns())


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


def rebuild(config: SiteConfig, changed: set[str]) -> bool:
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
    return subprocess.run([*command, *arguments], check=False).returncode == 0


class Handler(SimpleHTTPRequestHandler):
    """Serves files, adds the reload mark to pages, and tells when the site was built."""

    def __init__(self, *args: object, live: Live, **kwargs: object) -> None:
        self.live = live
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/__built":
            self._send(self.live.stamp.encode(), "text/plain")
            return
        path = Path(self.translate_path(self.path))
        if path.is_dir() and self.path.endswith("/"):
            path /= "index.html"
        if path.suffix == ".html" and path.is_file():
            mark = _LIVE % self.live.stamp.encode()
            self._send(path.read_bytes().replace(b"</head>", mark, 1), "text/html; charset=utf-8")
            return
        super().do_GET()

    def _send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet: the builds are what the terminal is for."""


def listen(config: SiteConfig, port: int, live: Live) -> ThreadingHTTPServer:
    """Return a server on the port, on another free one where it is taken."""
    handler = partial(Handler, live=live, directory=os.fspath(config.out))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)


def serve(config: SiteConfig, port: int) -> int:
    """Build, serve and watch until interrupted; return 1 where there is no site to serve."""
    built = rebuild(config, set())
    if not built and not (config.out / "index.html").is_file():
        return 1
    live = Live()
    server = listen(config, port, live)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"Serving http://127.0.0.1:{server.server_port}/ (stop with Ctrl+C)", flush=True)
    before = snapshot(config)
    try:
        while True:
            time.sleep(PAUSE)
            now = snapshot(config)
            changed = {name for name in before.keys() | now if before.get(name) != now.get(name)}
            if changed:
                print(f"changed: {', '.join(sorted(changed)[:3])}", flush=True)
                if rebuild(config, changed):
                    live.stamp = str(time.time_ns())
                before = now
    except KeyboardInterrupt:
        server.shutdown()
        return 0
