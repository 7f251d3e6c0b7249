"""Every snippet that a project declares: files under docs/snippets and runnable fences of notes.

A fence runs when its info string is `python run id=NAME`, with the options of a file after it and
`after=OTHER` to go on from another fence of the note. Lines like `# %% setup` divide it into cells,
as in a file. Its id is the note's concept (or its file
name) and NAME; the same fence in both languages is one snippet and runs once.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ssm_tools.findings import Finding
from ssm_tools.run.snippets import (
    MARK,
    Cell,
    OptionError,
    Options,
    Snippet,
    parse_file,
    parse_options,
    parse_text,
)

if TYPE_CHECKING:
    from ssm_tools.notes import Fence, Note, Vault

FOLDER = Path("docs") / "snippets"
RUN = ("python", "run")


def declared(root: Path, vault: Vault | None = None) -> list[Snippet]:
    """Return all snippets of a project, by id; what is wrong with one is among its `problems`.

    Pass the project's vault where it is loaded already: it is read here if any note runs code.
    """
    if vault is None and _notes_say(root, b"python run"):
        from ssm_tools.notes import load_vault

        vault = load_vault(root / "docs")
    found: dict[str, Snippet] = {}
    fences = (
        (snippet for note in vault.notes.values() for snippet in note_snippets(root, note))
        if vault
        else ()
    )
    for snippet in (*declared_files(root), *fences):
        other = found.get(snippet.id)
        if other is None:
            found[snippet.id] = snippet
        elif _says(other) != _says(snippet):
            message = f"the snippet {snippet.id} says something else in {other.path}:{other.line}"
            problem = Finding(snippet.path, snippet.line, 1, "S014", message)
            found[snippet.id] = replace(other, problems=(*other.problems, problem))
    return [found[name] for name in sorted(found)]


def declared_for_gpu(root: Path) -> list[Snippet]:
    """Return the snippets that are made for a GPU, by id.

    Notes are parsed only where one of their fences may be such: a machine that has a GPU need not
    have the tools that read notes.
    """
    all_of_them = declared if _notes_say(root, b"device=cuda") else declared_files
    return [snippet for snippet in all_of_them(root) if snippet.options.device == "cuda"]


def declared_files(root: Path) -> list[Snippet]:
    """Return the snippets that are files of their own: `docs/snippets/<page>/<name>.py`."""
    found = []
    for path in sorted((root / FOLDER).rglob("*.py")):
        relative = path.relative_to(root).as_posix()
        page, *names = path.relative_to(root / FOLDER).with_suffix("").parts
        if len(names) == 1:
            found.append(parse_file(path, relative, f"{page}/{names[0]}"))
        else:
            message = "a snippet lies in docs/snippets/<page>/<name>.py"
            problem = Finding(relative, 1, 1, "S010", message, "move it, or no page can show it")
            name = "/".join((page, *names))
            found.append(Snippet(name, relative, 1, (), problems=(problem,)))
    return found


def note_snippets(root: Path, note: Note) -> Iterator[Snippet]:
    """Yield the fences of a note that run, in the note's order."""
    page = note.concept or note.slug
    relative = note.path.resolve().relative_to(root.resolve()).as_posix()
    cells: dict[str, tuple[Cell, ...]] = {}
    for fence in note.fences:
        if (words := run_words(fence)) is None:
            continue
        line = fence.line + 1
        try:
            name, after, options = _read_words(words)
            if name in cells:
                raise OptionError(f"two fences of this note have the id {name}")
            if after and after not in cells:
                raise OptionError(f"after={after} names no earlier fence of this note")
        except OptionError as error:
            problem = Finding(relative, fence.line, fence.column, "S010", str(error))
            yield Snippet(f"{page}/line-{line}", relative, line, (), problems=(problem,))
            continue
        before = tuple(replace(cell, kind="setup") for cell in cells.get(after, ()))
        own = _cells(fence, relative)
        cells[name] = (*before, *own.cells)
        yield Snippet(
            f"{page}/{name}", relative, line, cells[name], options, fence.content, own.problems
        )


def _cells(fence: Fence, relative: str) -> Snippet:
    """Return the cells of a fence: marks like those of a file divide it, else it is one, shown."""
    code = fence.content.rstrip("\n")
    if not any(row.startswith(MARK) for row in code.split("\n")):
        return Snippet("", relative, 1, (Cell("shown", fence.line + 1, code),))
    parsed = parse_text(code, relative, "")
    cells = tuple(replace(cell, line=cell.line + fence.line) for cell in parsed.cells)
    problems = tuple(replace(each, line=each.line + fence.line) for each in parsed.problems)
    return replace(parsed, cells=cells, problems=problems)


def run_words(fence: Fence) -> list[str] | None:
    """Return the words after `python run` of a fence that runs, or None."""
    words = shlex.split(fence.info)
    return words[2:] if tuple(words[:2]) == RUN else None


def _read_words(words: list[str]) -> tuple[str, str, Options]:
    """Return a fence's name, the fence that it goes on from, and its options."""
    own = dict(word.partition("=")[::2] for word in words if word.startswith(("id=", "after=")))
    if not own.get("id"):
        raise OptionError("a fence that runs must have an id: python run id=NAME")
    rest = [word for word in words if not word.startswith(("id=", "after="))]
    return own["id"], own.get("after", ""), parse_options(shlex.join(rest))


def _says(snippet: Snippet) -> tuple[object, ...]:
    return snippet.options, [(cell.kind, cell.code, cell.raises) for cell in snippet.cells]


def _notes_say(root: Path, words: bytes) -> bool:
    """Return whether parsing the notes is worth it: most projects have their snippets in files."""
    return any(
        words in line
        for path in (root / "docs").rglob("*.md")
        for line in path.read_bytes().splitlines()
        if line.lstrip().startswith((b"```", b"~~~"))
    )
