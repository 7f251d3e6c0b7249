"""Concept files: malformed ones end in one finding at their line, ties are held to what exists."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ssm_tools.concepts import (
    check_project,
    check_release,
    claims,
    equation_lines,
    load_concepts,
    locate_symbol,
    locate_test,
    source_hash,
)
from ssm_tools.concepts.rows import operator_hash
from ssm_tools.run import Result, Store
from ssm_tools.run.recorded import record
from ssm_tools.run.snippets import parse_file

MakeProject = Callable[[Mapping[str, str]], Path]

GOOD = """
family: selective
year: 2023
requires: [scan]
implementation: [ssm_ref.selective.mamba.Mamba]
symbols: [ssm_ref.selective.mamba]
kernels:
  - symbol: ssm_kernels.conv.conv
    parity: tests/ssm_kernels/test_conv.py::TestConv::test_parity
tests: [tests/ssm_ref/test_mamba.py]
snippets: [block]
measurements: [conv]
trained: [copying/mamba]
claims:
  - {id: causal, ru: Причинна., en: Causal., test: "tests/ssm_ref/test_mamba.py::test_causal"}
  - {id: fast, ru: Быстра., en: Fast., paper: "gu2023mamba, Table 1"}
papers: [gu2023mamba]
"""
FILES = {
    "docs/concepts/mamba.yml": GOOD,
    "docs/concepts/scan.yml": "family: foundations\n",
    "docs/papers.yml": "gu2023mamba: {title: Mamba, authors: [A], venue: V, year: 2023}\n",
    "docs/snippets/mamba/block.py": "print(1)\n",
    "ssm_ref/__init__.py": "",
    "ssm_ref/selective/__init__.py": "",
    "ssm_ref/selective/mamba.py": """
        class Base:
            def forward(self):
                return 1  # (1)

        class Mamba(Base):
            x = 1  # see (2)
    """,
    "kernels/ssm_kernels/__init__.py": "",
    "kernels/ssm_kernels/conv/__init__.py": "from ssm_kernels.conv.op import conv\n",
    "kernels/ssm_kernels/conv/op.py": "def conv():\n    return 1\n",
    "kernels/results/conv.jsonl": "{}\n",
    "docs/experiments/copying.jsonl": '{"variant": "mamba"}\n',
    "tests/ssm_ref/test_mamba.py": "def test_causal():\n    pass\n",
    "tests/ssm_kernels/test_conv.py": "class TestConv:\n    def test_parity(self):\n        pass\n",
}
CLAIMS = "[[claim:causal]] [[claim:fast]]"
for LANGUAGE in ("ru", "en"):
    for PLACE, MORE in (("selective/mamba", CLAIMS), ("foundations/scan", "")):
        SLUG = PLACE.partition("/")[2]
        FILES[f"docs/{LANGUAGE}/ssm/{PLACE}.md"] = f"---\nconcept: {SLUG}\n---\n# T\n\n{MORE}\n"


def found(root: Path) -> list[tuple[str, str, int]]:
    return [(one.code, Path(one.path).name, one.line) for one in check_project(root)]


def test_a_whole_concept_is_clean(make_project: MakeProject) -> None:
    assert found(make_project(FILES)) == []


def test_no_concepts_no_findings(tmp_path: Path) -> None:
    assert check_project(tmp_path) == []


# text, what replaces it, code and line of the one finding
BAD = [
    ("year: 2023", "yaer: 2023", "C002", 2),
    ("year: 2023", "year: soon", "C003", 2),
    ("year: 2023", "family: x", "C004", 2),
    ("requires: [scan]", "requires: scan", "C003", 3),
    ("requires: [scan]", "requires: [scan, scan]", "C004", 3),
    ("requires: [scan]", "requires: [scna]", "C015", 3),
    ("requires: [scan]", "requires: [mamba]", "C016", 3),
    ("requires: [scan]", "requires: [scan", "C001", 4),
    ("mamba.Mamba]", "mamba.Momba]", "C010", 4),
    ("    parity: tests/ssm_kernels/test_conv.py::TestConv::test_parity", "", "C017", 7),
    ("::test_parity", "::test_party", "C011", 8),
    ("tests: [tests/ssm_ref/test_mamba.py]", "tests: [tests/no.py]", "C011", 9),
    ("snippets: [block]", "snippets: [clock]", "C012", 10),
    ("measurements: [conv]", "measurements: [cone]", "C019", 11),
    ("trained: [copying/mamba]", "trained: [copying/momba]", "C024", 12),
    ("trained: [copying/mamba]", "trained: [coping/mamba]", "C024", 12),
    ("id: fast", "id: causal", "C004", 15),
    ("en: Fast., ", "", "C003", 15),
    ('paper: "gu2023mamba, Table 1"', "test: a, paper: b", "C003", 15),
    ("papers: [gu2023mamba]", "papers: [gu2024mamba]", "C014", 16),
    ("family: selective", "family: [selective]", "C003", 1),
    ("family: selective", "# nothing", "C003", 2),
]


@pytest.mark.parametrize(("text", "other", "code", "line"), BAD)
def test_malformed(text: str, other: str, code: str, line: int, make_project: MakeProject) -> None:
    assert text in GOOD
    root = make_project(FILES | {"docs/concepts/mamba.yml": GOOD.replace(text, other, 1)})
    assert (code, "mamba.yml", line) in found(root)
    own = [one for one in found(root) if one[1] == "mamba.yml" and one[0] != "K001"]
    assert len(own) == 1, own


@pytest.mark.parametrize(
    "text", ["a: [", "a", "a: b", "a: {title: T, year: soon}", "a: {title: T, year: 1, authors: A}"]
)
def test_malformed_works(text: str, make_project: MakeProject) -> None:
    root = make_project(FILES | {"docs/papers.yml": text + "\n"})
    assert ("C014", "papers.yml", 1) in found(root)


def test_damaged_rows_and_reports_are_none(make_project: MakeProject) -> None:
    root = make_project(FILES | {"kernels/results/conv.jsonl": '{"impl": "ssm_kernels", \n'})
    outcomes(root, "passed")
    (root / "build" / "tests.json").write_text('{"source_hash')
    assert found(root) == []
    assert [entry.state for entry in claims(root)] == ["open", "cited"]


def test_not_utf8(make_project: MakeProject) -> None:
    root = make_project(FILES)
    (root / "docs/concepts/scan.yml").write_bytes("family: x\n# да\n".encode("cp1251"))
    assert ("C001", "scan.yml", 2) in found(root)


def test_a_circle_is_named_once(make_project: MakeProject) -> None:
    root = make_project(
        FILES | {"docs/concepts/scan.yml": "family: foundations\nrequires: [mamba]\n"}
    )
    (finding,) = check_project(root)
    assert (finding.code, finding.message) == (
        "C016",
        "prerequisites form a circle: mamba → scan → mamba",
    )


def test_a_symbol_of_no_concept(make_project: MakeProject) -> None:
    root = make_project(FILES | {"ssm_ref/extra.py": "x = 1\n\n\ndef f():\n    return 1\n"})
    assert found(root) == [("C018", "extra.py", 4)]


def test_marks_and_citations_of_notes(make_project: MakeProject) -> None:
    text = (
        "# T\n\n[[claim:mamba/slow]] [[@gu2024mamba]]\n\n```snippet mamba/clock\n```\n\n"
        "```source ssm_ref.selective.mamba.Momba\n```\n\n```measurements cone\n```\n"
    )
    notes = {f"docs/{language}/topic.md": text for language in ("ru", "en")}
    root = make_project(FILES | notes)
    assert sorted(found(root)) == sorted(
        2
        * [
            (code, "topic.md", line)
            for code, line in [("K001", 3), ("C014", 3), ("C012", 5), ("C010", 8), ("C019", 11)]
        ]
    )


def test_claim_marked_in_one_language(make_project: MakeProject) -> None:
    name = "docs/en/ssm/selective/mamba.md"
    root = make_project(FILES | {name: FILES[name].replace("[[claim:fast]]", "")})
    codes = {(one.code, one.path) for one in check_project(root)}
    assert codes == {
        ("K003", "docs/ru/ssm/selective/mamba.md"),
        ("K002", "docs/concepts/mamba.yml"),
    }


def test_symbols_are_found_by_path(make_project: MakeProject) -> None:
    root = make_project(FILES)
    assert locate_symbol(root, "ssm_ref.selective.mamba.Nothing") is None
    for name, path, line in [
        ("ssm_ref.selective.mamba", "ssm_ref/selective/mamba.py", 1),
        ("ssm_ref.selective.mamba.Mamba.forward", "ssm_ref/selective/mamba.py", 2),
        ("ssm_kernels.conv.conv", "kernels/ssm_kernels/conv/op.py", 1),
    ]:
        place = locate_symbol(root, name)
        assert place is not None
        assert (place.path, place.line) == (path, line)
    assert locate_test(root, "tests/ssm_kernels/test_conv.py::TestConv::test_parity[a-b]") == 2
    assert equation_lines(root / "ssm_ref/selective/mamba.py") == {1: 3, 2: 6}


def test_a_line_may_carry_several_equations_and_words(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text(
        "a = 1  # (4), (6)\nb = 2  # (1) each b l d\nc = 3  # as printed (3)\n# f(7) is none\n"
    )
    assert equation_lines(path) == {4: 1, 6: 1, 1: 2, 3: 3}


def outcomes(root: Path, outcome: str) -> None:
    names = (
        "tests/ssm_ref/test_mamba.py::test_causal[1]",
        "tests/ssm_kernels/test_conv.py::TestConv::test_parity",
    )
    tests = {name: {"outcome": outcome, "seconds": 0.1} for name in names}
    (root / "build").mkdir(exist_ok=True)
    data = json.dumps({"source_hash": source_hash(root), "whole": True, "tests": tests})
    (root / "build" / "tests.json").write_text(data)


@pytest.mark.parametrize(
    ("outcome", "codes", "state"),
    [("passed", set(), "held"), ("failed", {"C020"}, "failed"), ("skipped", {"C020"}, "open")],
)
def test_tests_of_this_tree(
    outcome: str, codes: set[str], state: str, make_project: MakeProject
) -> None:
    root = make_project(FILES)
    assert [entry.state for entry in claims(root)] == ["open", "cited"]
    outcomes(root, outcome)
    assert {one.code for one in check_project(root)} == codes
    assert [entry.state for entry in claims(root)] == [state, "cited"]
    (root / "ssm_ref" / "__init__.py").write_text("# edited\n")
    assert [entry.state for entry in claims(root)] == ["open", "cited"]


def test_rows_of_other_sources_are_stale(make_project: MakeProject) -> None:
    resting = GOOD.replace('paper: "gu2023mamba, Table 1"', "measurement: conv")
    root = make_project(FILES | {"docs/concepts/mamba.yml": resting})
    rows = root / "kernels/results/conv.jsonl"
    fresh = {"impl": "ssm_kernels", "ms": 1.0, "source_hash": operator_hash(root, "conv")}
    peer = {"impl": "peer", "ms": 2.0, "source_hash": "of the peer"}
    for newest, state, codes in (
        (fresh, "held", []),
        (fresh | {"source_hash": "older"}, "stale", ["C022", "C022"]),
    ):
        rows.write_text("".join(f"{json.dumps(row)}\n" for row in (newest, peer)))
        assert [entry.state for entry in claims(root)] == ["open", state]
        found_here = [one for one in check_project(root) if one.code == "C022"]
        assert [one.code for one in found_here] == codes
        assert {(one.line, one.severity) for one in found_here} <= {(11, "hint"), (15, "hint")}
        released = list(check_release(root))
        assert [(one.code, one.severity) for one in released] == [(c, "error") for c in codes]
    rows.unlink()
    assert [entry.state for entry in claims(root)] == ["open", "open"]


def test_claims_on_gpu_snippets_rest_on_what_was_recorded(make_project: MakeProject) -> None:
    resting = GOOD.replace('paper: "gu2023mamba, Table 1"', "snippet: block")
    text = "# snippet: device=cuda\nprint(1)\n"
    root = make_project(
        FILES | {"docs/concepts/mamba.yml": resting, "docs/snippets/mamba/block.py": text}
    )
    path = root / "docs/snippets/mamba/block.py"
    snippet = parse_file(path, "docs/snippets/mamba/block.py", "mamba/block")
    result = Result("mamba/block", (), 1.0)

    def state() -> str:
        return claims(root)[1].state

    assert state() == "open"
    Store(root).write(snippet, result)
    assert state() == "open", "the interpreter's run is no recording"
    record(root, snippet, result, commit="c0ffee")
    assert state() == "held"
    path.write_text(text + "print(2)\n")
    snippet = parse_file(path, "docs/snippets/mamba/block.py", "mamba/block")
    Store(root).write(snippet, result)
    assert state() == "stale"


def test_names_know_their_place(make_project: MakeProject) -> None:
    concepts, problems = load_concepts(make_project(FILES))
    assert problems == []
    (tie,) = concepts["mamba"].requires
    assert (tie, tie.line, tie.column) == ("scan", 3, 12)
