"""The command line without the documentation tools: one sentence, not a traceback."""

import subprocess
import sys

HIDE = (
    "import sys; sys.modules['markdown_it'] = None; "
    "from ssm_tools.cli import main; sys.exit(main(['check']))"
)


def test_missing_tools_are_named() -> None:
    done = subprocess.run([sys.executable, "-c", HIDE], capture_output=True, text=True)
    assert done.returncode == 2
    assert "markdown_it is missing" in done.stderr
    assert "pip install 'ssm-knowledge-base[docs]'" in done.stderr
    assert "Traceback" not in done.stderr
