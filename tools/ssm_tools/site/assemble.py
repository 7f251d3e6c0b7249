"""All pages and files of a site, made in memory before anything is written."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from ssm_tools.concepts import code_held
from ssm_tools.findings import Finding
from ssm_tools.notes import Found
from ssm_tools.site.api_pages import api_pages
from ssm_tools.site.code_pages import code_pages
from ssm_tools.site.graph_page import graph_page
from ssm_tools.site.lists import list_pages
from ssm_tools.site.machine import machine_files
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.notes_pages import NotePages
from ssm_tools.site.previews import preview_file
from ssm_tools.site.search import search_file
from ssm_tools.site.topic_graph import topic_graph


@dataclass
class Assembly:
    """A site before it is written: pages by language, other files by address."""

    sources: Sources
    pages: dict[str, list[Page]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def assemble(sources: Sources) -> Assembly:
    """Return the whole site in memory."""
    made = Assembly(sources)
    with code_held(sources.config.root):
        writer = NotePages(sources)
        for language in sources.languages:
            pages = list(writer.pages(language))
            graph = topic_graph(sources, language)
            pages += list_pages(sources, language, graph)
            page, files = graph_page(sources, language, graph)
            pages.append(page)
            pages += api_pages(sources, language)
            made.files |= files
            made.pages[language] = pages
        _translate_generated(made)
        made.files |= writer.files
        made.files |= vault_files(sources)
        made.files |= code_pages(sources)
        for language, pages in made.pages.items():
            made.files |= search_file(sources, language, pages)
            made.files |= preview_file(sources, language, pages)
            made.files |= machine_files(sources, language, pages)
    made.findings = writer.findings
    return made


def _translate_generated(made: Assembly) -> None:
    """Tie the generated pages of the languages to each other by their place."""
    inside = {
        language: {page.address.removeprefix(f"{language}/"): page for page in pages}
        for language, pages in made.pages.items()
    }
    for language, pages in inside.items():
        for path, page in pages.items():
            for other, others in inside.items():
                if other != language and path in others and not page.note:
                    page.alternates[other] = others[path].address


def vault_files(sources: Sources) -> dict[str, bytes]:
    """Return the files of the vault that notes link to or show."""
    wanted = {
        answer.target
        for answers in sources.answers.values()
        for answer in answers
        if isinstance(answer, Found) and answer.note is None
    }
    found = {}
    for path in sorted(wanted & sources.vault.files):
        with suppress(OSError):  # the link to it is then found to lead nowhere
            found[sources.file_address(path)] = (sources.vault.root / path).read_bytes()
    return found
