"""Renaming: links keep their manner and their meaning, and there and back is the identity."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssm_tools.cli import main
from ssm_tools.notes import Found, Vault, load_vault, resolve
from ssm_tools.notes.redirects import apply_plan, load_redirects, merged
from ssm_tools.notes.rename import RenameError, plan_rename

FILES = {
    "ru/x/a.md": "[[b]] [[../y/b]] [[y/b#Why|q]] [t](../y/b.md#why) [[/y/b.md]] [[ru/y/b]]\n",
    "ru/y/b.md": "---\ntitle: B\n---\n## Why {#why}\n[[a]] [[#Why]] ![[c d]] [[b]] text ^blk\n",
    "ru/y/c d.md": "`[[b]]` [[b#^blk]] [x](b.md) [y](<b.md>)\n",
    "en/x/a.md": "[[b]] [[b#why]] [[b#Why not]]\r\n",
    "en/y/b.md": "## Why not {#why}\n\n### Deep\n\n[[a]] [[b#Why not#Deep]]\n",
    "en/y/c d.md": "| [[b\\|t]] |\n|---|\n",
}


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())


def read(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): p.read_bytes().decode() for p in root.rglob("*.md")}


def targets(vault: Vault) -> list[str]:
    answers = [resolve(vault, note, link) for note in vault.notes.values() for link in note.links]
    return [answer.target if isinstance(answer, Found) else repr(answer) for answer in answers]


def rename(root: Path, old: str, new: str) -> None:
    vault = load_vault(root)
    apply_plan(vault, plan_rename(vault, old, new))


THERE_AND_BACK = [
    ("y/b", "y/z", "y/z", "y/b"),
    ("y/b", "z/deep/b", "z/deep/b", "y/b"),
    ("b", "новое имя", "новое имя", "b"),
    ("y", "p/q", "p/q", "y"),
    ("ru/y/b", "ru/w/b", "ru/w/b", "ru/y/b"),
    ("x/a", "/a", "a", "x/a"),
    ("b#^blk", "^other", "b#^other", "^blk"),
    ("y/b#why", "reason", "y/b#reason", "why"),
    ("y/b#Why not", "Because", "y/b#Because", "Why not"),
    ("y/b#Deep", "Deeper still", "y/b#Deeper still", "Deep"),
]


@pytest.mark.parametrize(("old", "new", "back", "home"), THERE_AND_BACK, ids=str)
def test_there_and_back_is_the_identity(
    tmp_path: Path, old: str, new: str, back: str, home: str
) -> None:
    write(tmp_path, FILES)
    before, meant = read(tmp_path), len(targets(load_vault(tmp_path)))
    rename(tmp_path, old, new)
    between = load_vault(tmp_path)
    assert read(tmp_path) != before
    assert len(targets(between)) == meant
    assert not [t for t in targets(between) if "(" in t]
    rename(tmp_path, back, home)
    assert read(tmp_path) == before


def test_links_keep_their_manner(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    rename(tmp_path, "y/b", "z/n m")
    assert read(tmp_path)["ru/x/a.md"] == (
        "[[n m]] [[../z/n m]] [[z/n m#Why|q]] [t](../z/n%20m.md#why) [[/z/n m.md]] [[ru/z/n m]]\n"
    )
    assert read(tmp_path)["ru/y/c d.md"] == (
        "`[[b]]` [[n m#^blk]] [x](../z/n%20m.md) [y](<../z/n m.md>)\n"
    )
    assert load_redirects(tmp_path) == {"y/b.md": "z/n m.md"}


def test_a_moved_note_still_means_what_it_meant(tmp_path: Path) -> None:
    files = {"x/a.md": "[[b]] [[../y/c]] [t](b.md)", "x/b.md": "", "y/b.md": "", "y/c.md": ""}
    write(tmp_path, files)
    rename(tmp_path, "x/a", "z/q/a")
    assert read(tmp_path)["z/q/a.md"] == "[[x/b]] [[../../y/c]] [t](../../x/b.md)"


NAMES = st.sampled_from(["p", "p q", "имя", "ёж", "n/p", "n/m/p", "1", "v1.2"])
FOLDERS = st.sampled_from(["", "x/", "x/y/", "z/"])
MANNERS = ["[[{name}]]", "[[{name}|t]]", "![[{name}]]", "[[/{path}]]", "[[{path}.md#h|t]]"]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    home=FOLDERS,
    sources=st.lists(FOLDERS, min_size=1, max_size=4, unique=True),
    manners=st.lists(st.sampled_from(MANNERS), min_size=1, max_size=6),
    new=NAMES,
    filler=st.text(alphabet="ab `$\\[]|\n#>-*", max_size=30),
)
def test_there_and_back_on_made_vaults(
    tmp_path_factory: pytest.TempPathFactory,
    home: str,
    sources: list[str],
    manners: list[str],
    new: str,
    filler: str,
) -> None:
    root = tmp_path_factory.mktemp("vault")
    links = " ".join(m.format(name="target", path=home + "target") for m in manners)
    files = {f"{folder}s{i}.md": filler + "\n\n" + links for i, folder in enumerate(sources)}
    write(root, {**files, f"{home}target.md": "# h\n" + links})
    before = read(root)
    rename(root, home + "target", "/" + new if "/" in new else new)
    moved = new if "/" in new else home + new
    assert not [t for t in targets(load_vault(root)) if t.startswith("Ambiguous")]
    rename(root, moved, f"/{home}target")
    assert read(root) == before


WRONG = [("nothing", "x"), ("y/b", "y/c d"), ("y/b", "../out"), ("b#nope", "x"), ("b#^no", "x")]


@pytest.mark.parametrize(("old", "new"), WRONG, ids=str)
def test_what_cannot_be_renamed_is_said(tmp_path: Path, old: str, new: str) -> None:
    write(tmp_path, FILES)
    with pytest.raises(RenameError):
        plan_rename(load_vault(tmp_path), old, new)


def test_redirects_are_shortened_and_never_circular() -> None:
    known = merged({}, {"a.md": "b.md"})
    known = merged(known, {"b.md": "c.md"})
    assert known == {"a.md": "c.md", "b.md": "c.md"}
    assert merged(known, {"c.md": "a.md"}) == {"b.md": "a.md", "c.md": "a.md"}


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "docs", FILES)
    monkeypatch.chdir(tmp_path)
    assert main(["rename", "docs/ru/y/b.md", "c", "--dry-run"]) == 0
    assert "ru/y/b.md -> ru/y/c.md" in capsys.readouterr().out
    assert (tmp_path / "docs/ru/y/b.md").exists()
    assert main(["rename", "b", "c"]) == 0
    assert (tmp_path / "docs/en/y/c.md").exists()
    assert main(["rename", "b", "c"]) == 2
