"""The card of a concept: every line of it a link to evidence, nothing typed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from ssm_tools.concepts import Concept, TieState, locate_symbol, locate_test, trained_row
from ssm_tools.site.links import short_reference
from ssm_tools.site.listing import code_address
from ssm_tools.site.measured import is_stale, last_run, ratio_of_largest, read_rows, shown
from ssm_tools.site.model import Sources
from ssm_tools.site.strings import family_title, strings
from ssm_tools.site.urls import relative, with_fragment


@dataclass(frozen=True, slots=True)
class CardWriter:
    """Writes the card of a concept for the page at `address`."""

    sources: Sources
    concept: Concept
    language: str
    address: str

    @property
    def words(self) -> Mapping[str, str]:
        """The interface strings of the page."""
        return strings(self.sources.tongue(self.language))

    def html(self) -> str:
        """Return the card."""
        words, concept = self.words, self.concept
        rows = [
            (words["family"], [self._family()]),
            (words["year"], [str(concept.year)] if concept.year else []),
            (words["requires"], self._concepts(concept.requires)),
            (words["next"], self._concepts(self._next())),
            (words["definition"], self._symbols(concept.implementation)),
            (words["tests"], [self._test(tie) for tie in concept.tests]),
            (words["kernel"], list(self._kernels())),
            (words["measured"], list(self._measured())),
            (words["trained"], list(self._trained())),
            (words["papers"], list(self._papers())),
            (words["claims"], self._claims()),
        ]
        shown = "".join(
            f"<dt>{name}</dt>" + "".join(f"<dd>{item}</dd>" for item in items)
            for name, items in rows
            if items
        )
        return f'<dl class="card" aria-label="{words["card"]}">{shown}</dl>'

    def _to(self, address: str, fragment: str = "") -> str:
        return escape(with_fragment(relative(address, self.address), fragment))

    def _family(self) -> str:
        page = self.sources.generated("topics", self.language)
        title = family_title(self.concept.family, self.sources.tongue(self.language))
        return f'<a href="{self._to(page, self.concept.family)}">{escape(title)}</a>'

    def _next(self) -> list[str]:
        slug = self.concept.slug
        return [other.slug for other in self.sources.concepts.values() if slug in other.requires]

    def _concepts(self, slugs: Iterable[str]) -> list[str]:
        found = []
        for slug in slugs:
            note = self.sources.concept_notes.get((slug, self.language))
            if note is not None:
                href = self._to(self.sources.addresses[note.id])
                found.append(f'<a href="{href}">{escape(note.title)}</a>')
        return [", ".join(found)] if found else []

    def _symbols(self, names: Iterable[str]) -> list[str]:
        return [self._symbol(name) for name in names]

    def _symbol(self, name: str) -> str:
        place = locate_symbol(self.sources.config.root, name)
        short = ".".join(name.split(".")[-2:])
        if place is None:
            return f"<code>{escape(short)}</code>"
        href = self._to(code_address(place.path), f"L{place.line}")
        title = escape(f"{place.path}:{place.line}")
        return f'<a href="{href}" title="{title}"><code>{breakable(short)}</code></a>'

    def _test(self, tie: str) -> str:
        line = locate_test(self.sources.config.root, tie)
        path, _, name = tie.partition("::")
        short = name or path.rpartition("/")[2]
        href = self._to(code_address(path), f"L{line}" if line and name else "")
        link = f'<a href="{href}" title="{escape(tie)}"><code>{breakable(short)}</code></a>'
        return f"{link} {self._state(self._outcome(tie))}"

    def _outcome(self, tie: str) -> TieState | None:
        return self.sources.report.state(tie) if self.sources.report else None

    def _state(self, state: TieState | None) -> str:
        if state is None or not state.ran:
            return f'<span class="state state--open">{self.words["not_run"]}</span>'
        if state.failed:
            return f'<span class="state state--failed">{state.failed} {self.words["failed"]}</span>'
        return f'<span class="state state--held">{state.passed} {self.words["passed"]}</span>'

    def _kernels(self) -> Iterable[str]:
        for kernel in self.concept.kernels:
            parity = self._test(kernel.parity)
            held = f"{self.words['parity']}: {parity}"
            yield f"{self._symbol(kernel.symbol)}<br><small>{held}</small>"

    def _measured(self) -> Iterable[str]:
        root = self.sources.config.root
        for name in self.concept.measurements:
            rows = last_run(read_rows(root, name))
            found = ratio_of_largest(rows)
            if found is None:
                continue
            ratio, mine, peer = found
            note = self.sources.concept_notes.get((self.concept.slug, self.language))
            fragment = "costs" if note and any(h.id == "costs" for h in note.headings) else ""
            stale = f' <strong class="stale">{self.words["stale"]}</strong>'
            keys = ("pass", "shape", "device", "dtype", "date")
            facts = [shown(mine[key]) for key in keys if mine.get(key)]
            if mine.get("commit"):
                facts.append(escape(str(mine["commit"])[:8]))
            yield (
                f'<a href="#{fragment}"><b>{ratio:.2f}×</b> {escape(str(peer["impl"]))}</a>'
                f"<br><small>{' · '.join(facts)}{stale if is_stale(root, mine) else ''}</small>"
            )

    def _trained(self) -> Iterable[str]:
        """Final scores of recorded runs, each with a link to where the experiment is told."""
        note = self.sources.concept_notes.get(("experiments", self.language))
        if note is None:
            return
        sections = {heading.id for heading in note.headings}
        for tie in self.concept.trained:
            row = trained_row(self.sources.config.root, tie)
            if row is None:
                continue
            name = str(row["experiment"])
            own = [name.replace("_", "-")]
            if name.endswith("_paper"):
                own = [f"{word}-at-paper-size" for word in name.split("_")] + ["paper-size"]
            fragment = next((s for s in (*own, "provenance") if s in sections), "")
            href = self._to(self.sources.addresses[note.id], fragment)
            scores = [("loss", "{:.2f}", 1), ("accuracy", "{:.1f} %", 100)]
            shown = ", ".join(
                f"{self.words[key]} {self._number(text.format(row['final'][key] * scale))}"
                for key, text, scale in scores
                if key in row["final"]
            )
            steps = self.words["trained_steps"].format(n=row["steps"])
            facts = [escape(str(fact)) for fact in (steps, row["device"], row["date"])]
            small = " · ".join([breakable(tie), *facts])
            yield f'<a href="{href}">{shown}</a><br><small>{small}</small>'

    def _number(self, text: str) -> str:
        return text.replace(".", ",") if self.sources.tongue(self.language) == "ru" else text

    def _papers(self) -> Iterable[str]:
        page = self.sources.generated("references", self.language)
        for key in self.concept.papers:
            if paper := self.sources.papers.get(key):
                tongue = self.sources.tongue(self.language)
                shown = escape(short_reference(paper.authors, paper.year, tongue))
                yield f'<a href="{self._to(page, key)}" title="{escape(paper.title)}">{shown}</a>'

    def _claims(self) -> list[str]:
        entries = [e for e in self.sources.ledger if e.concept.slug == self.concept.slug]
        if not entries:
            return []
        held = sum(entry.state in ("held", "cited") for entry in entries)
        page = self.sources.generated("claims", self.language)
        words = self.words
        shown = f"{held} {words['held']}, {len(entries) - held} {words['open']}"
        return [f'<a href="{self._to(page, self.concept.slug)}">{shown}</a>']


def breakable(name: str) -> str:
    """Return a dotted or underscored name that may break into lines at its joints."""
    return escape(name).replace(".", ".<wbr>").replace("_", "_<wbr>")
