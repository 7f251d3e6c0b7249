"""Reference pages of the code: one for each family of the reference, one for each kernel."""

from __future__ import annotations

from pathlib import Path

from ssm_tools.site.model import Page, Sources
from ssm_tools.site.strings import family_title, strings
from ssm_tools.site.urls import relative


def api_pages(sources: Sources, language: str) -> list[Page]:
    """Return the reference's pages, whose text mkdocstrings fills in, and their index."""
    if not sources.config.project:
        return []
    groups = _groups(sources.config.root)
    if not groups:
        return []
    words = strings(sources.tongue(language))
    pages = [
        Page(
            address=sources.generated(f"api/{name}", language),
            language=language,
            title=_title(name, sources.tongue(language)),
            html="",
            kind="api",
            markdown="".join(f"::: {module}\n\n" for module in modules),
        )
        for name, modules in groups.items()
    ]
    index = sources.generated("api/index", language)
    rows = "".join(
        f'<li><a href="{relative(page.address, index)}">{page.title}</a>'
        f"<small>{' · '.join(map(_shown, groups[name]))}</small></li>"
        for page, name in zip(pages, groups, strict=True)
    )
    text = "".join(
        f"- [{page.title}]({relative(page.stage_path, 'api/index.md')})\n" for page in pages
    )
    listing = f'<ul class="cards">{rows}</ul>'
    return [*pages, Page(index, language, words["api"], listing, "list", markdown=text)]


def _shown(module: str) -> str:
    """The last name of a module; an operator's is that of its package: all are called `op`."""
    *_, package, name = module.split(".")
    return package if name == "op" else name


def _title(name: str, tongue: str) -> str:
    if name == "kernels":
        return "ssm_kernels"
    return "ssm_ref" if name == "root" else family_title(name, tongue)


def _groups(root: Path) -> dict[str, list[str]]:
    """Return dotted modules by family, the package's own modules and the kernels apart."""
    groups: dict[str, list[str]] = {}
    own = sorted((root / "ssm_ref").glob("[a-z]*.py"))
    if own:
        groups["root"] = [f"ssm_ref.{path.stem}" for path in own]
    for folder in sorted((root / "ssm_ref").glob("*/")):
        modules = [
            f"ssm_ref.{folder.name}.{path.stem}" for path in sorted(folder.glob("[a-z]*.py"))
        ]
        if modules:
            groups[folder.name] = modules
    kernels = sorted((root / "kernels" / "ssm_kernels").glob("*/op.py"))
    if kernels:
        groups["kernels"] = [f"ssm_kernels.{path.parent.name}.op" for path in kernels]
    return groups
