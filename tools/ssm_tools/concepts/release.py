"""What a release may not carry: recordings and measured rows of sources that moved on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ssm_tools.concepts.load import load_concepts
from ssm_tools.concepts.verify import stale_measurements
from ssm_tools.findings import Finding, Severity
from ssm_tools.run import check_recorded, declared


def check_release(root: Path) -> Iterator[Finding]:
    """Yield a finding for every GPU snippet or measured row that is missing or stale."""
    yield from check_recorded(root, declared(root))
    concepts, _ = load_concepts(root)
    for concept in concepts.values():
        for finding in stale_measurements(root, concept):
            yield replace(finding, severity=Severity.ERROR)
