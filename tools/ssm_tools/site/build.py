"""Build a site whole or not at all: read, assemble, run the generator, verify, swap."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from ssm_tools.findings import Finding
from ssm_tools.notes.vault import SITE_MARK
from ssm_tools.site.assemble import Assembly, assemble
from ssm_tools.site.config import SiteConfig
from ssm_tools.site.machine import root_files
from ssm_tools.site.sources import read_sources
from ssm_tools.site.stage import stage
from ssm_tools.site.verify import verify_site

ASSETS = Path(__file__).parent / "assets"


@dataclass(slots=True)
class BuildResult:
    """What a build did; with findings of a strict build nothing was written."""

    findings: list[Finding] = field(default_factory=list)
    pages: int = 0
    links: int = 0
    seconds: float = 0.0
    built: bool = False


def build_site(config: SiteConfig) -> BuildResult:
    """Build the site; on any finding of a strict build the site that was there stays as it is.

    Raises:
        NotADirectoryError: there is no folder of notes.
    """
    start = time.perf_counter()
    sources, findings = read_sources(config)
    result = BuildResult(findings)
    if findings and config.strict:
        return result
    made = assemble(sources)
    result.findings += made.findings
    if made.findings and config.strict:
        return result
    new = config.out.parent / f".{config.out.name}.new"
    shutil.rmtree(new, ignore_errors=True)
    try:
        stage(made, config.work / "stage")
        generate(made, config.work / "stage", new)
        write_files(made, new)
        faults, result.links = verify_site(made, new)
        result.findings += faults
        if faults and config.strict:
            return result
        swap(new, config.out)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    result.pages = sum(map(len, made.pages.values()))
    result.built, result.seconds = True, time.perf_counter() - start
    return result


def generate(made: Assembly, staged: Path, out: Path) -> None:
    """Run the generator once a language, the languages side by side."""
    from ssm_tools.site.generator import run_generator

    languages = list(made.pages)
    if len(languages) == 1:
        run_generator(made, languages[0], staged, out)
        return
    context = multiprocessing.get_context("fork")
    waiting = [
        context.Process(target=run_generator, args=(made, language, staged, out))
        for language in languages
    ]
    while waiting:
        workers = [waiting.pop() for _ in waiting[: max(2, os.cpu_count() or 1)]]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if any(worker.exitcode for worker in workers):
            raise GeneratorError("the site generator failed; what it said stands above")


class GeneratorError(RuntimeError):
    """The site generator ended with an error."""


def write_files(made: Assembly, out: Path) -> None:
    """Write everything that is no generated page: assets, figures, code, indexes."""
    for path in sorted(ASSETS.iterdir()):
        target = out / "assets" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for address, data in {**made.files, **root_files(made.sources), SITE_MARK: b""}.items():
        target = out / address
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def swap(new: Path, out: Path) -> None:
    """Put the new site in the place of the old one, which is removed only then."""
    out.parent.mkdir(parents=True, exist_ok=True)
    old = out.parent / f".{out.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.rename(out, old)
    os.rename(new, out)
    shutil.rmtree(old, ignore_errors=True)
