"""Read docs/concepts: one concept a file, named by its slug."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import yaml

from ssm_tools.concepts.model import EVIDENCE, LANGUAGES, Claim, Concept, EvidenceKind, Kernel
from ssm_tools.concepts.reading import Node, Reader
from ssm_tools.findings import Finding

FOLDER = Path("docs") / "concepts"
KEYS = (
    "family",
    "year",
    "requires",
    "implementation",
    "symbols",
    "kernels",
    "tests",
    "snippets",
    "measurements",
    "trained",
    "claims",
    "papers",
)


def load_concepts(root: Path) -> tuple[dict[str, Concept], list[Finding]]:
    """Return the concepts by slug, and a finding for everything that could not be read."""
    concepts: dict[str, Concept] = {}
    findings: list[Finding] = []
    for path in sorted((root / FOLDER).glob("*.yml")):
        concept, problems = read_concept(path, path.relative_to(root).as_posix())
        findings += problems
        if concept is not None:
            concepts[concept.slug] = concept
    return concepts, findings


def read_concept(path: Path, relative: str) -> tuple[Concept | None, list[Finding]]:
    """Read one file; a concept without a family is none."""
    reader = Reader(relative)
    node = reader.compose(path.read_bytes())
    if reader.findings:
        return None, reader.findings
    values = reader.fields(node, KEYS, "a concept")
    if "family" not in values:
        if isinstance(node, yaml.MappingNode):
            reader.find(node, "C003", "a concept must name its family")
        return None, reader.findings
    family = reader.text(values["family"], "family")
    if family is None:
        return None, reader.findings
    concept = Concept(
        slug=path.stem,
        path=relative,
        family=family,
        year=reader.number(values["year"], "year") if "year" in values else None,
        requires=reader.texts(values.get("requires"), "requires"),
        implementation=reader.texts(values.get("implementation"), "implementation"),
        symbols=reader.texts(values.get("symbols"), "symbols"),
        kernels=_kernels(reader, values.get("kernels")),
        tests=reader.texts(values.get("tests"), "tests"),
        snippets=reader.texts(values.get("snippets"), "snippets"),
        measurements=reader.texts(values.get("measurements"), "measurements"),
        trained=reader.texts(values.get("trained"), "trained"),
        claims=_claims(reader, values.get("claims")),
        papers=reader.texts(values.get("papers"), "papers"),
    )
    return concept, reader.findings


def _kernels(reader: Reader, node: Node) -> tuple[Kernel, ...]:
    found = []
    for item in reader.items(node, "kernels"):
        values = reader.fields(item, ("symbol", "parity"), "a kernel")
        if "symbol" not in values:
            reader.find(item, "C003", "a kernel must name its symbol")
        elif "parity" not in values:
            hint = "parity: tests/ssm_kernels/test_….py::test_…"
            reader.find(item, "C017", "a kernel must name its parity test", hint)
        else:
            symbol = reader.text(values["symbol"], "symbol")
            parity = reader.text(values["parity"], "parity")
            if symbol is not None and parity is not None:
                found.append(Kernel(symbol, parity))
    return tuple(found)


def _claims(reader: Reader, node: Node) -> tuple[Claim, ...]:
    found: dict[str, Claim] = {}
    for item in reader.items(node, "claims"):
        claim = _claim(reader, item)
        if claim is not None and claim.id in found:
            reader.find(item, "C004", f"the claim {claim.id!r} is declared twice")
        elif claim is not None:
            found[claim.id] = claim
    return tuple(found.values())


def _claim(reader: Reader, node: Node) -> Claim | None:
    values = reader.fields(node, ("id", *LANGUAGES, *EVIDENCE), "a claim")
    kinds = [kind for kind in EVIDENCE if kind in values]
    missing = [name for name in ("id", *LANGUAGES) if name not in values]
    if missing and isinstance(node, yaml.MappingNode):
        reader.find(node, "C003", f"a claim must have {', '.join(missing)}")
    if len(kinds) != 1 and isinstance(node, yaml.MappingNode):
        wanted = ", ".join(EVIDENCE)
        reader.find(node, "C003", f"a claim has one piece of evidence of {wanted}; got {kinds}")
    if missing or len(kinds) != 1:
        return None
    identifier = reader.text(values["id"], "id")
    evidence = reader.text(values[kinds[0]], kinds[0])
    texts = {name: reader.text(values[name], name) for name in LANGUAGES}
    if identifier is None or evidence is None or None in texts.values():
        return None
    kind: EvidenceKind = kinds[0]
    return Claim(identifier, cast("dict[str, str]", texts), kind, evidence)
