"""The fences that the site fills in: source listings, snippets with their output, measurements."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from html import escape

from ssm_tools.concepts import Concept, locate_symbol
from ssm_tools.notes import Note
from ssm_tools.run import Cell, Fresh, Output, Result, Snippet
from ssm_tools.run.declared import run_words
from ssm_tools.site.listing import Stretch, code_address, equations_of, line_id, listing
from ssm_tools.site.markdown import highlighted
from ssm_tools.site.measured import measurements, provenance
from ssm_tools.site.model import Sources
from ssm_tools.site.strings import strings
from ssm_tools.site.urls import relative
from ssm_tools.site.widgets import WIDGETS, widget_html, widget_scripts


@dataclass
class Fences:
    """Renders the fences of one note; `files` and `scripts` collect what the page needs."""

    sources: Sources
    note: Note
    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)  # addresses, in the order of loading

    @property
    def handlers(self) -> Mapping[str, Callable[[str, str], str]]:
        """What renders each kind of fence."""
        return {
            "snippet": self.snippet,
            "source": self.source,
            "measurements": self.measured,
            "widget": self.widget,
            "python": self.python,
        }

    @property
    def words(self) -> Mapping[str, str]:
        """The interface strings of the page."""
        return strings(self.sources.tongue(self.note.language))

    @property
    def concept(self) -> Concept | None:
        """The concept that the note is about."""
        return self.sources.concepts.get(self.note.concept)

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The stretches of source that the page lists."""
        found = []
        for fence in self.note.fences:
            word, _, name = fence.info.partition(" ")
            if word == "source" and (stretch := self._stretch(name.strip())):
                found.append(stretch)
        return found

    def equation(self, number: str) -> tuple[str, str] | None:
        """Where the code of an equation is: on this page if listed here, else in the whole file."""
        where = self._equations.get(int(number)) if number.isdigit() else None
        if where is None:
            return None
        path, line = where
        title = f"{self.words['equation_code']}: {path}:{line}"
        if any(stretch.holds(path, line) for stretch in self.stretches):
            return f"#{line_id(path, line)}", title
        return f"{relative(code_address(path), self.address)}#L{line}", title

    @cached_property
    def _equations(self) -> Mapping[int, tuple[str, int]]:
        if self.concept is None:
            return {}
        root = self.sources.config.root
        names = [*self.concept.implementation, *self.concept.symbols]
        places = [locate_symbol(root, name) for name in names]
        paths = dict.fromkeys(place.path for place in places if place is not None)
        return equations_of(root, list(paths))

    def _stretch(self, name: str) -> Stretch | None:
        place = locate_symbol(self.sources.config.root, name)
        return Stretch(place.path, place.line, place.end_line) if place else None

    def source(self, info: str, content: str) -> str:
        """A symbol's source as it stands in its file."""
        stretch = self._stretch(info)
        if stretch is None:
            return f'<p class="missing">{escape(info)}</p>'
        whole = relative(code_address(stretch.path), self.address)
        text = (self.sources.config.root / stretch.path).read_text(encoding="utf-8")
        tags = {equation.tag for equation in self.note.equations}
        rows = listing(text, stretch, whole=whole, back=lambda n: f"#eq-{n}" if n in tags else "")
        lines = f"{self.words['lines']} {stretch.first}–{stretch.last}"
        return (
            '<figure class="code highlight listing"><figcaption>'
            f'<a href="{escape(whole)}#L{stretch.first}">{escape(stretch.path)}</a>'
            f"<span>{lines}</span></figcaption>"
            f'<pre tabindex="0"><code>{rows}</code></pre></figure>\n'
        )

    def python(self, info: str, content: str) -> str:
        """A fence of Python: with its output where it ran, else only highlighted."""
        for fence in self.note.fences:
            if fence.content == content and (words := run_words(fence)) is not None:
                name = next((w.partition("=")[2] for w in words if w.startswith("id=")), "")
                return self.snippet(f"{self.note.concept or self.note.slug}/{name}", "")
        return (
            f'<figure class="code highlight"><pre tabindex="0"><code>'
            f"{highlighted(content, 'python')}</code></pre></figure>\n"
        )

    def snippet(self, info: str, content: str) -> str:
        """A snippet: its setup folded, its shown cells, what they printed and drew."""
        snippet = self.sources.snippets.get(info)
        if snippet is None:
            return f'<p class="missing">{escape(info)}</p>'
        found = self.sources.store.lookup(snippet)
        result = found.result if isinstance(found, Fresh) else None
        parts = [f'<figure class="snippet" id="snippet-{escape(snippet.name)}">']
        for index, cell in enumerate(snippet.cells):
            outputs = [o for o in result.outputs if o.cell == index] if result else []
            parts.append(self._cell(cell, outputs))
        if result is None:
            parts.append(f'<p class="missing">{self.words["no_results"]}</p>')
        elif snippet.options.device == "cuda":
            parts.append(f'<p class="recorded">{recording(result, self.words)}</p>')
        parts.append(self._downloads(snippet, result))
        return "".join(parts) + "</figure>\n"

    def _cell(self, cell: Cell, outputs: list[Output]) -> str:
        shown = "".join(self._output(output) for output in outputs)
        if shown:
            label = escape(self.words["output"])
            shown = f'<div class="output" role="group" aria-label="{label}">{shown}</div>'
        if cell.kind == "check":
            return ""
        body = (
            f'<div class="code highlight"><pre tabindex="0"><code>'
            f"{highlighted(cell.display, 'python')}</code></pre></div>"
        )
        if cell.kind == "setup":
            summary = f"<summary>{self.words['setup']}</summary>"
            return f'<details class="setup">{summary}{body}</details>{shown}'
        return body + shown

    def _output(self, output: Output) -> str:
        match output.kind:
            case "svg":
                return self._figure(output)
            case "html":
                return f'<div class="output__html">{output.data}</div>'
            case "table":
                return table(json.loads(output.data))
            case _:
                kind = "stderr" if output.name == "stderr" else output.kind
                label = escape(output.name) if output.kind in ("repr", "error") else ""
                caption = f'<span class="output__name">{label}</span>' if label else ""
                text = escape(output.data.rstrip("\n"), quote=False)
                return f'{caption}<pre class="output__{kind}" tabindex="0">{text}</pre>'

    def _figure(self, output: Output) -> str:
        output = output.in_language(self.note.language)
        alt = escape(output.name or self.words["output"])
        light = self._picture(output.data)
        if output.data_dark is None or output.data_dark == output.data:
            return f'<img src="{light}" alt="{alt}" loading="lazy">'
        dark = self._picture(output.data_dark)
        return (
            f'<img class="on-light" src="{light}" alt="{alt}" loading="lazy">'
            f'<img class="on-dark" src="{dark}" alt="{alt}" loading="lazy">'
        )

    def _picture(self, svg: str) -> str:
        data = svg.encode("utf-8")
        address = f"files/figures/{blake2b(data, digest_size=8).hexdigest()}.svg"
        self.files[address] = data
        return relative(address, self.address)

    def _downloads(self, snippet: Snippet, result: Result | None) -> str:
        base = f"files/snippets/{snippet.id}"
        self.files[f"{base}.py"] = snippet.text.encode("utf-8")
        self.files[f"{base}.ipynb"] = notebook(snippet)
        seconds = f"{result.seconds:.1f} s · " if result else ""
        links = " · ".join(
            f'<a href="{relative(f"{base}.{suffix}", self.address)}" download>'
            f"{self.words[f'download_{suffix}']}</a>"
            for suffix in ("py", "ipynb")
        )
        name = escape(snippet.path)
        return f"<figcaption><code>{name}</code><span>{seconds}{links}</span></figcaption>"

    def widget(self, info: str, content: str) -> str:
        """A picture with sliders over the still picture that its snippet draws."""
        if info not in WIDGETS:
            return f'<p class="missing">{escape(info)}</p>'
        snippet = self.sources.snippets.get(WIDGETS[info].snippet)
        if snippet is None:
            return f'<p class="missing">{escape(WIDGETS[info].snippet)}</p>'
        found = self.sources.store.lookup(snippet)
        result = found.result if isinstance(found, Fresh) else None
        still = (
            "".join(self._figure(o) for o in result.outputs if o.kind == "svg") if result else ""
        )
        if result is None:
            still = f'<p class="missing">{self.words["no_results"]}</p>'
        self.scripts += [one for one in widget_scripts(info) if one not in self.scripts]
        tongue = self.sources.tongue(self.note.language)
        made = widget_html(info, tongue, still, lambda address: relative(address, self.address))
        return made + self._downloads(snippet, result) + "</figure>\n"

    def measured(self, info: str, content: str) -> str:
        """The measured rows of an operator, with their provenance."""
        return measurements(self.sources.config.root, info, self.words)


def recording(result: Result, words: Mapping[str, str]) -> str:
    """Return where the result of a GPU snippet was recorded, or that it was not yet."""
    found = result.recorded
    if found is None:
        return f'<strong class="stale">{words["not_recorded"]}</strong>'
    facts = {"device": found.device, "date": found.date, "driver": found.driver}
    facts |= {"commit": found.commit, "command": found.command, **found.versions}
    stale = f' · <strong class="stale">{words["stale"]}</strong>' if found.stale else ""
    return f"{words['provenance']}: {provenance(facts)}{stale}"


def table(data: Mapping[str, list[object]]) -> str:
    """Return a table output as HTML."""
    head = "".join(f"<th>{escape(str(column))}</th>" for column in data["columns"])
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in data["rows"]
        if isinstance(row, list)
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def notebook(snippet: Snippet) -> bytes:
    """Return a snippet as a Jupyter notebook without outputs."""
    cells: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell-{index}",
            "metadata": {},
            "outputs": [],
            "source": cell.display.splitlines(keepends=True),
        }
        for index, cell in enumerate(snippet.cells)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    data = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(data, ensure_ascii=False, indent=1).encode("utf-8")
