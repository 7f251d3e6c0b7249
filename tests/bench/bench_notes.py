"""Time the link engine on a made vault: `python tests/bench/bench_notes.py [notes]`.

Prints lines `name value target`. Ratios compare with markdown-it-py parsing the same notes alone,
in the same run; the vault is half Russian, 300 words and eight links a note, as in SITE.md.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from markdown_it import MarkdownIt

from ssm_tools.notes.check import check_vault
from ssm_tools.notes.session import Session
from ssm_tools.notes.vault import load_vault

ENGLISH = "state space model scan kernel hidden matrix token length input gate decay layer"
RUSSIAN = "состояние модель пространство скрытое матрица длина вход шаг слой ядро свёртка"
WORDS = {"en": ENGLISH.split(), "ru": RUSSIAN.split()}
LINKS = 8
FOLDER = 50  # notes in a folder


def name(index: int) -> str:
    """The place of a note in its language."""
    return f"topic{index // FOLDER}/note_{index}"


def make_note(index: int, count: int, language: str, rng: random.Random) -> str:
    """Return a note of 300 words with front matter, headings, a list, a table, code and links."""
    words = WORDS[language]
    alias = [f"aliases: [alias {index}]"] if index % 10 == 0 else []
    lines = ["---", f"title: Note {index}", *alias, "---", "", f"# N {index}"]
    for section in range(5):
        lines += ["", f"## {words[section].capitalize()} {{#part-{section}}}", ""]
        for sentence in range(3):
            text = " ".join(rng.choices(words, k=18))
            lines.append(f"**{text.capitalize()}**, `x_t` and $a_t$ *so*.")
            if section * 3 + sentence < LINKS:
                target = f"note_{rng.randrange(count)}"
                lines.append(("[[%s]]", "[[%s#part-1|%%s]]", "[[%s|%%s]]")[sentence] % target)
                if "%s" in lines[-1]:
                    lines[-1] %= words[sentence]
    lines += ["", "```python", "x = [[1, 2], [3, 4]]", "```", "", "- one", "- two", ""]
    return "\n".join(lines)


def make_vault(root: Path, notes: int) -> None:
    """Write `notes` notes, half in each language."""
    half = notes // 2
    for language in ("ru", "en"):
        rng = random.Random(0)  # the same links in both
        for index in range(half):
            path = root / language / f"{name(index)}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(make_note(index, half, language, rng), encoding="utf-8")


def timed(action: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds of an action, and what it returned."""
    start = time.process_time()
    result = action()
    return time.process_time() - start, result


def parse_alone(root: Path) -> int:
    """Parse every note with plain markdown-it-py."""
    md = MarkdownIt("commonmark").enable("table")
    return sum(len(md.parse(p.read_text(encoding="utf-8"))) for p in root.rglob("*.md"))


def check_cold(root: Path) -> int:
    """Load, resolve and check the vault."""
    return len(check_vault(load_vault(root)))


def warm_seconds(root: Path) -> float:
    """Seconds from an edit of one note to the findings of the vault, in a kept session."""
    session = Session(root)
    session.findings()
    path = root / "ru" / f"{name(7)}.md"
    path.write_text(path.read_text(encoding="utf-8") + "\n[[note_3]] [[nothing]]\n", "utf-8")
    return timed(lambda: (session.refresh(), session.findings()))[0]


def again_seconds(root: Path) -> tuple[float, float]:
    """CPU seconds of `ssm-notes check` in a process of its own: the first, then after one edit."""
    path = root / "ru" / f"{name(9)}.md"
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        command = [sys.executable, "-m", "ssm_tools.cli", "check", "--vault", str(root)]

        def spent() -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        first = spent()
        path.write_text(path.read_text(encoding="utf-8") + "\n[[note_4]] [[nowhere]]\n", "utf-8")
        return first, spent()


def peak_mib() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(notes: int) -> None:
    """Print the measured lines."""
    cold = {}
    for count in (notes // 10, notes):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make_vault(root, count)
            cold[count], _ = timed(lambda root=root: check_cold(root))
            if count != notes:
                continue
            memory = peak_mib()
            plain, _ = timed(lambda root=root: parse_alone(root))
            warm = warm_seconds(root)
            first, again = again_seconds(root)
    print("notes", notes, "-")
    print("parse_alone_s", f"{plain:.2f}", "-")
    print("check_cold_s", f"{cold[notes]:.2f}", "-")
    print("check_cold_ratio", f"{cold[notes] / plain:.2f}", "<=1.5")
    print("check_warm_s", f"{warm:.3f}", "<0.5")
    print("check_process_s", f"{first:.2f}", "-")
    print("check_again_s", f"{again:.2f}", "<0.5")
    print("check_again_ratio", f"{first / again:.1f}", ">=3")
    print("memory_mib", f"{memory:.0f}", "<500")
    print("growth_per_note", f"{cold[notes] / cold[notes // 10] / 10:.2f}", "<=1.3")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
