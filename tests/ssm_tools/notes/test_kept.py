"""What a check keeps for the next run: the same findings, or nothing at all."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssm_tools.cli import main
from ssm_tools.notes import check_vault, kept, load_vault
from ssm_tools.notes.kept import kept_path, load_state, save_state
from ssm_tools.notes.session import Session

FILES = {
    "a.md": "[[b#H]] [[Nick]] [[none]] ![[c]]\n\n[[requires::c]]",
    "b.md": "---\naliases: [nick, unused]\n---\n# H\n",
    "c.md": "![[a]] [[requires::a]] ^id\n\n^id",
    "x/B.md": "# h {#i}\n# g {#i}",
    "p.png": "",
}
NAMES = st.sampled_from(["a", "b", "B", "x/b", "ru/a", "en/a", "ru/б", "en/b", "x/index", "ё"])
TEXTS = st.sampled_from(
    [
        *("[[b]]", "[[B#h]] [[x]]", "# h\n[[a]] ![[b]]", "# H {#h}\n[[ё]]"),
        *("---\naliases: [b, q]\n---\n[[q]]", "---\npermalink: one\n---\n# A\n[[a]] [[б]]"),
        *("---\npermalink: two\n---\n# A\n# B\n[[b]]", "[[requires::a]]"),
    ]
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "WORTHWHILE", 1)
    monkeypatch.setattr(kept, "_RECENT", 0)
    return tmp_path / "cache"


def write(root: Path, path: str, text: str | None) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        (root / path).unlink(missing_ok=True)
    else:
        (root / path).write_text(text, encoding="utf-8")


def fresh(root: Path) -> list[tuple[str, object]]:
    return [(str(f), f.fix) for f in check_vault(load_vault(root))]


def again(root: Path, path: Path) -> Session:
    """A session that begins with what the last one left in the file, and leaves its own."""
    session = Session(root, None, load_state(path))
    assert [(str(f), f.fix) for f in session.findings()] == fresh(root)
    save_state(path, session.state)
    return session


def test_a_second_run_reads_nothing_and_an_edit_little(tmp_path: Path, cache: Path) -> None:
    for name, text in FILES.items():
        write(tmp_path / "v", name, text)
    path = cache / "x.kept"
    again(tmp_path / "v", path)
    second = again(tmp_path / "v", path)
    assert (second.parsed, second.resolved, second.changed) == (set(), set(), False)
    write(tmp_path / "v", "a.md", "[[b]]")
    third = again(tmp_path / "v", path)
    assert (third.parsed, third.resolved) == ({"a.md"}, {"a.md"})


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(NAMES, st.none() | TEXTS), min_size=1, max_size=8))
def test_any_edits_between_runs(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, str | None]]
) -> None:
    root = tmp_path_factory.mktemp("vault")
    path = tmp_path_factory.mktemp("cache") / "x.kept"
    for name, text in FILES.items():
        write(root, name, text)
    for name, text in edits:
        write(root, f"{name}.md", text)
        again(root, path)


def test_the_command_keeps_what_it_found_outside_the_vault(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "v"
    for name, text in FILES.items():
        write(root, name, text)
    before = sorted(root.rglob("*"))
    said = []
    for options in ([], [], ["--no-cache"]):
        assert main(["check", "--vault", str(root), *options]) == 1
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]
    assert sorted(root.rglob("*")) == before
    assert [path.suffix for path in (cache / "ssm-notes").iterdir()] == [".kept"]


def damaged(data: bytes) -> list[bytes]:
    return [b"", b"x", data[:40], data[:-1], data[:-9] + b"x" * 9, data[::-1], data + b"x"]


def test_a_damaged_file_is_none(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "v", "a.md", "[[none]]")
    path = cache / "x.kept"
    again(tmp_path / "v", path)
    data = path.read_bytes()
    for bad in damaged(data):
        path.write_bytes(bad)
        assert load_state(path) is None
        again(tmp_path / "v", path)
    assert load_state(cache) is None


def test_another_engine_keeps_its_own(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "v", "a.md", "[[none]]")
    path = cache / "x.kept"
    again(tmp_path / "v", path)
    monkeypatch.setattr(kept, "engine_key", lambda: "another")
    assert load_state(path) is None


def test_runs_side_by_side_leave_one_whole_file(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "v", "a.md", "[[none]]")
    state = Session(tmp_path / "v").state
    path = kept_path(tmp_path / "v", None)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: save_state(path, state), range(40)))
    assert load_state(path) == state
    assert list(path.parent.iterdir()) == [path]


def test_an_edit_too_soon_to_show_in_the_time_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, path = tmp_path / "v", tmp_path / "x.kept"
    write(root, "a.md", "[[b]]")
    again(root, path)
    known = (root / "a.md").stat()
    write(root, "a.md", "[[c]]")
    os.utime(root / "a.md", ns=(known.st_atime_ns, known.st_mtime_ns))
    assert again(root, path).parsed == {"a.md"}


def test_a_folder_that_cannot_be_written_to_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "v/a.md", "x")
    write(tmp_path, "file", "x")
    save_state(tmp_path / "file" / "x.kept", Session(tmp_path / "v").state)
    assert (tmp_path / "file").read_text() == "x"
