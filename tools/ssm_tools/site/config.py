"""What is built, from where and to where: the project's own site, or that of any vault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SiteConfig:
    """Where a site comes from and goes to.

    `root` is the project (or the vault's folder itself where `project` is false); `strict` stops
    the build at the first finding, as the project wants; a stranger's vault is built with ghosts.
    """

    root: Path
    vault: Path
    out: Path
    work: Path
    project: bool = True
    strict: bool = True
    name: str = ""
    default_language: str = ""
    base_url: str = ""

    @classmethod
    def for_project(cls, root: Path, out: Path | None = None, *, strict: bool = True) -> SiteConfig:
        """The site of a project laid out as this one: docs/, docs/concepts, ssm_ref, kernels."""
        out = out.resolve() if out else root / "site"
        return cls(root, root / "docs", out, root / "build", strict=strict)

    @classmethod
    def for_vault(cls, vault: Path, out: Path, language: str = "") -> SiteConfig:
        """The site of somebody's notes: one folder, or one per language; no other files needed."""
        out = out.resolve()  # the generator would count it from a folder of its own
        work = out.parent / f".{out.name}.work"
        name = vault.resolve().name
        return cls(
            vault, vault, out, work, project=False, strict=False, name=name,
            default_language=language,
        )  # fmt: skip
