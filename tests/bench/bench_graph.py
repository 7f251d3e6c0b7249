"""Times the topic graph of made vaults in Chromium: `bench_graph.py [notes ...]`.

Interactive: from the start of the navigation until search, filters and keys answer. Smooth: the
time between frames while the graph is dragged and zoomed for some seconds.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_notes import make_note, name
from bench_site import CHROMIUM, line, serving
from playwright.sync_api import Browser, sync_playwright

from ssm_tools.site.build import build_site
from ssm_tools.site.config import SiteConfig

TARGETS = {1_000: 1.0, 5_000: 3.0}
FRAME = 1000 / 30  # milliseconds: what still looks like one movement
WATCH = """new MutationObserver((_, self) => {
  if (!document.querySelector(".graph[data-ready]")) return;
  self.disconnect();
  window.ready = performance.now();
  requestAnimationFrame(() => setTimeout(() => { window.shown = performance.now(); }));
}).observe(document, { subtree: true, childList: true, attributes: true });"""
FRAMES = """() => { window.frames_ = []; let last = performance.now();
  const tick = now => { frames_.push(now - last); last = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick); }"""


def make_vault(root: Path, notes: int) -> None:
    """Write a vault of one language: 300 words and eight links a note."""
    rng = random.Random(0)
    for index in range(notes):
        path = root / f"{name(index)}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make_note(index, notes, "en", rng), encoding="utf-8")


def move(tab: Any) -> list[float]:
    """Drag and zoom for some seconds; return the milliseconds between frames."""
    box = tab.locator(".graph__stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.evaluate(FRAMES)
    tab.mouse.move(x, y)
    tab.mouse.down()
    for step in range(60):
        tab.mouse.move(x + 3 * (step % 30), y + 2 * (step % 20))
    tab.mouse.up()
    for step in range(40):
        tab.mouse.wheel(0, -60 if step % 20 < 10 else 60)
    frames: list[float] = tab.evaluate("frames_")
    return frames[2:]


def measure(browser: Browser, address: str) -> tuple[float, float, list[float]]:
    """Seconds until interactive and until shown (the better of three), and times of frames."""
    ready, shown, frames = [], [], []
    for _ in range(3):
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.add_init_script(WATCH)
        tab.goto(address)
        tab.locator("[data-ready]").wait_for()
        tab.wait_for_function("window.shown")
        tab.locator(".graph__stage").scroll_into_view_if_needed()
        ready.append(tab.evaluate("ready") / 1000)
        shown.append(tab.evaluate("shown") / 1000)
        frames = move(tab)
        tab.close()
    return min(ready), min(shown), frames


def main(counts: list[int]) -> None:
    """Print the measured lines."""
    if not CHROMIUM.exists():
        print("graph: left out, Chromium is missing")
        return
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="bench-graph-") as folder:
            root = Path(folder)
            make_vault(root / "notes", count)
            build_site(SiteConfig.for_vault(root / "notes", root / "out"))
            with serving(root / "out") as address, sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=CHROMIUM, args=["--no-sandbox"]
                )
                ready, shown, frames = measure(browser, f"{address}/graph.html")
                browser.close()
        target = TARGETS.get(count, 3.0)
        line(f"graph of {count} nodes, interactive", ready, "s", target)
        line(f"graph of {count} nodes, first picture shown", shown, "s", target)
        line(f"graph of {count} nodes, median frame", statistics.median(frames), "ms", FRAME)
        line(
            f"graph of {count} nodes, frame at 95 %",
            statistics.quantiles(frames, n=20)[-1], "ms", 2 * FRAME,
        )  # fmt: skip


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or list(TARGETS))
