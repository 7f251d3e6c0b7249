"""The laws of the house: where things lie, what they may be called, what they may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAMILIES = {
    "foundations",
    "structured",
    "selective",
    "linear_attention",
    "recurrent",
    "attention",
    "hybrid",
    "vision",
    "audio",
    "multimodal",
    "time_series",
    "genomics",
}
PACKAGES = (ROOT / "ssm_ref", ROOT / "kernels" / "ssm_kernels", ROOT / "tools" / "ssm_tools")
SOURCES = sorted(p for package in PACKAGES for p in package.rglob("*.py"))
CONCEPTS = sorted((ROOT / "docs" / "concepts").glob("*.yml"))
MAX_LINES = 500  # ~150 is the aim, 300 wants a reason, past this a file holds two ideas


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    names += [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    return set(names)


def test_top_level_holds_what_the_readme_names() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    top = {line.split("/")[0] for line in listed.splitlines()}
    named = top - {"README.md"}
    missing = [name for name in sorted(named) if not name.startswith(".") and name not in readme]
    assert not missing, f"README.md does not say what these are: {missing}"


@pytest.mark.parametrize("folder", ["kernels", "tools", "tests", "docs"])
def test_folder_is_no_package(folder: str) -> None:
    found = [relative(p) for p in (ROOT / folder).glob("__init__.py")]
    assert not found, "a top-level package of this name shadows others' imports"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_module_is_named_for_its_idea_and_short(path: Path) -> None:
    vague = {"utils", "util", "misc", "common", "helpers", "base", "manager"}
    assert path.stem not in vague
    assert not path.stem.endswith(("_v2", "_new", "_fast", "_simple"))
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{lines} lines: split it"


def test_families_are_spelt_alike_everywhere() -> None:
    for place in ("docs/ru/ssm", "docs/en/ssm", "ssm_ref", "tests/ssm_ref"):
        folders = {p.name for p in (ROOT / place).iterdir() if p.is_dir()} - {"__pycache__"}
        # Surveys, names of weights and training are no families.
        assert folders - {"topics", "layouts", "training"} <= FAMILIES, place


@pytest.mark.parametrize("path", sorted((ROOT / "ssm_ref").rglob("__init__.py")), ids=relative)
def test_reference_packages_stay_lazy(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert all(isinstance(node, ast.Expr) for node in body), "an import here invalidates every page"


@pytest.mark.parametrize("package", ["ssm_ref", "ssm_kernels", "ssm_tools", "ssm_tools.cli"])
def test_importing_the_package_loads_no_torch(package: str) -> None:
    code = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "op",
    sorted(p.parent for p in (ROOT / "kernels" / "ssm_kernels").glob("*/kernel.py")),
    ids=relative,
)
def test_device_code_and_host_code_keep_apart(op: Path) -> None:
    assert not {n for n in imported(op / "kernel.py") if n.split(".")[0] == "torch"}
    assert "triton.language" not in imported(op / "op.py")
    test = ROOT / "tests" / "ssm_kernels" / f"test_{op.name}.py"
    assert test.exists(), f"{relative(test)} holds {op.name} to its definition"


@pytest.mark.parametrize("path", CONCEPTS, ids=relative)
def test_concept_has_its_files(path: Path) -> None:
    notes = {
        language: sorted(
            p.parent.name for p in (ROOT / "docs" / language / "ssm").rglob(f"{path.stem}.md")
        )
        for language in ("ru", "en")
    }
    assert notes["ru"] == notes["en"], "the note lies at the same path in both languages"
    assert notes["ru"], "a concept has a note"
