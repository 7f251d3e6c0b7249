"""The one module that knows MkDocs: hands our pages to it in place of what it would render."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.livereload import LiveReloadServer
from mkdocs.plugins import BasePlugin
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation as MkDocsNavigation
from mkdocs.structure.pages import Page as MkDocsPage
from mkdocs.structure.toc import get_toc

from ssm_tools.site.assemble import Assembly, assemble
from ssm_tools.site.config import SiteConfig
from ssm_tools.site.context import page_context
from ssm_tools.site.markdown import TocItem
from ssm_tools.site.model import Page
from ssm_tools.site.nav import Navigation
from ssm_tools.site.sources import read_sources
from ssm_tools.site.stage import stage
from ssm_tools.site.theme_css import slim

_LOADED_BY_NO_PAGE = re.compile(r"^assets/(?:javascripts/|images/|stylesheets/palette\.)|\.map$")
_STYLE = re.compile(r"^assets/stylesheets/main\.\w+\.min\.css$")


class SsmNotesPlugin(BasePlugin):  # type: ignore[misc]
    """`ssm-notes build` prepares it; under plain `mkdocs build` it prepares itself."""

    def __init__(self) -> None:
        self.made: Assembly | None = None
        self.language = ""
        self.staged = Path()
        self.out: Path | None = None
        self.own = False

    def prepare(self, made: Assembly, language: str, staged: Path) -> None:
        """Build one language of an assembled site."""
        self.made, self.language, self.staged = made, language, staged

    def on_config(self, config: MkDocsConfig) -> MkDocsConfig:
        """Point MkDocs at the stage, and at the folder of the language."""
        if self.made is None or self.own:
            self._prepare_self(config)
        assert self.made is not None
        config.docs_dir = str((self.staged / (self.language or "all")).resolve())
        config.theme.language = self.made.sources.tongue(self.language)
        config.theme["language"] = config.theme.language
        self.navigation = Navigation(self.made.sources, self.language)
        self.pages = {page.stage_path: page for page in self.made.pages[self.language]}
        return config

    def _prepare_self(self, config: MkDocsConfig) -> None:
        root = Path(config.config_file_path or "mkdocs.yml").resolve().parent
        self.out = self.out or Path(config.site_dir)
        site = SiteConfig.for_project(root, self.out)
        sources, findings = read_sources(site)
        made = assemble(sources) if not findings else None
        findings = findings + (made.findings if made else [])
        if findings or made is None:
            shown = "\n".join(str(finding) for finding in findings)
            raise PluginError(f"ssm-notes: the site is not built:\n{shown}")
        self.own = True
        self.staged = site.work / "stage"
        stage(made, self.staged)
        self.prepare(made, sources.languages[0], self.staged)
        config.site_dir = str(self.out / self.language)

    def on_env(self, env: Environment, **_: Any) -> Environment:
        """The templates stay as they are while pages are made: MkDocs looks at each every time."""
        env.auto_reload = False
        return env

    def on_pre_page(self, page: MkDocsPage, **_: Any) -> MkDocsPage:
        """Spare MkDocs the rendering of pages that are rendered already."""
        if self._page(page).kind != "api":
            page.render = partial(_rendered, page)
        return page

    def on_page_read_source(self, page: MkDocsPage, **_: Any) -> str | None:
        """Of a page that is rendered already there is nothing to read."""
        return None if self._page(page).kind == "api" else ""

    def on_page_content(self, html: str, page: MkDocsPage, **_: Any) -> str:
        """Return our HTML; of the code's reference, keep the generator's and take its headings."""
        ours = self._page(page)
        if ours.kind == "api":
            ours.toc = [
                TocItem(item.level, item.id, item.title)
                for item in _items(page.toc)
                if item.level in (2, 3)
            ]
            return html
        return ours.html

    def on_page_context(
        self, context: dict[str, Any], page: MkDocsPage, config: MkDocsConfig, nav: MkDocsNavigation
    ) -> dict[str, Any]:
        """Give the template what it shows."""
        assert self.made is not None
        context["ssm"] = page_context(self.made.sources, self.navigation, self._page(page))
        return context

    def _page(self, page: MkDocsPage) -> Page:
        return self.pages[page.file.src_uri]

    def on_files(self, files: Files, config: MkDocsConfig) -> Files:
        """Keep only pages that are ours (the stage may hold leftovers) and what they load."""
        for file in list(files.documentation_pages()):
            if file.src_uri not in self.pages:
                files.remove(file)
        for file in list(files):
            if _LOADED_BY_NO_PAGE.search(file.src_uri):
                files.remove(file)
            elif _STYLE.search(file.src_uri) and file.abs_src_path:
                shorter = slim(Path(file.abs_src_path))
                files.remove(file)
                files.append(File.generated(config, file.src_uri, content=shorter))
        return files

    def on_post_build(self, config: MkDocsConfig) -> None:
        """Under plain MkDocs: build the other languages too and write what is no page."""
        if not self.own or self.made is None or self.out is None:
            return
        from ssm_tools.site.build import write_files
        from ssm_tools.site.generator import run_generator

        for language in self.made.sources.languages[1:]:
            run_generator(self.made, language, self.staged, self.out)
        write_files(self.made, self.out)

    def on_serve(
        self, server: LiveReloadServer, config: MkDocsConfig, **_: Any
    ) -> LiveReloadServer:
        """Watch what the pages are made from."""
        root = Path(config.config_file_path or "mkdocs.yml").resolve().parent
        for folder in ("docs", "ssm_ref", "kernels"):
            if (root / folder).is_dir():
                server.watch(str(root / folder))
        return server


def _rendered(page: MkDocsPage, config: MkDocsConfig, files: Files) -> None:
    """Stand in for MkDocs' rendering of a page: its text is ours (see `on_page_content`)."""
    page.content, page.toc = "", get_toc([])
    page.present_anchor_ids, page.links_to_anchors = set(), {}


def _items(toc: Any) -> list[Any]:
    found = []
    for item in toc:
        found.append(item)
        found += _items(item.children)
    return found
