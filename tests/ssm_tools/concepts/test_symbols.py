"""Where symbols stand: an edit is seen at once, but not in the middle of a build."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ssm_tools.concepts import code_held, locate_symbol


def test_a_build_sees_one_state_of_the_code(tmp_path: Path) -> None:
    package = tmp_path / "ssm_ref"
    package.mkdir()
    (package / "__init__.py").write_text("")
    module = package / "scan.py"
    module.write_text("def scan():\n    pass\n")
    with code_held(tmp_path):
        module.write_text("X = 1\n\n\ndef scan():\n    pass\n")
        with code_held(tmp_path):
            pass
        with ThreadPoolExecutor(1) as pool:
            elsewhere = pool.submit(locate_symbol, tmp_path, "ssm_ref.scan.scan").result()
        held = locate_symbol(tmp_path, "ssm_ref.scan.scan")
    after = locate_symbol(tmp_path, "ssm_ref.scan.scan")
    assert held is not None
    assert elsewhere is not None
    assert after is not None
    assert (held.line, elsewhere.line, after.line) == (1, 4, 4)
