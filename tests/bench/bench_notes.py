"""Time the link engine on a made vault: `python tests/bench/bench_notes.py [notes]`.

Prints lines `name value target`. Ratios compare with markdown-it-py parsing the same notes alone,
in the same run; the vault is half Russian, 300 words and eight links a note, as in SITE.md.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from markdown_it import MarkdownIt

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
    lines = ["---", f"title: Note {index}", f"aliases: [alias {index}]", "---", "", f"# N {index}"]
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
    rng = random.Random(0)
    half = notes // 2
    for language in ("ru", "en"):
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
    from ssm_tools.notes import check_vault, load_vault

    return len(check_vault(load_vault(root)))


def main(notes: int) -> None:
    """Print the measured lines."""
    from ssm_tools.notes import check_vault, load_vault

    load_vault, check_vault  # noqa: B018
    rows: list[tuple[str, str, str]] = []
    seconds = {}
    for count in (notes // 10, notes):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make_vault(root, count)
            cold, _ = timed(lambda root=root: check_cold(root))
            seconds[count] = cold
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            if count == notes:
                plain, _ = timed(lambda root=root: parse_alone(root))
                rows.append(("notes", str(count), "-"))
                rows.append(("parse_alone_s", f"{plain:.2f}", "-"))
                rows.append(("check_cold_s", f"{cold:.2f}", "-"))
                rows.append(("check_cold_ratio", f"{cold / plain:.2f}", "<=1.5"))
                rows.append(("memory_mib", f"{peak:.0f}", "<500"))
    growth = seconds[notes] / seconds[notes // 10] / 10
    rows.append(("growth_per_note", f"{growth:.2f}", "<=1.3"))
    for row in rows:
        print(*row)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
