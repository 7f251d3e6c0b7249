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


FOLDER_NOTES = {
    "x/index.md": "",
    "a.md": "---\nup: '[[x]]'\nby: \"[[x/index]]\"\n---\n[[x]] [[x/]] [[x|X]] [t](x/) [[x/index]]",
    "y/b.md": "[[x]] [t](../x/) [u](../x/index.md) [[/x]]",
}


def test_a_note_beside_the_languages_may_be_called_as_one_of_theirs(tmp_path: Path) -> None:
    write(tmp_path, {"ru/index.md": "[[s]]", "en/index.md": "[[s#H]]", "s.md": "# H\n[[ru/index]]"})
    before = targets(load_vault(tmp_path))
    rename(tmp_path, "s", "index")
    assert read(tmp_path)["en/index.md"] == "[[../index#H]]"
    after = sorted(targets(load_vault(tmp_path)))
    assert after == sorted(target.replace("s.md", "index.md") for target in before)


def test_a_folder_is_renamed_where_links_name_it(tmp_path: Path) -> None:
    write(tmp_path, FOLDER_NOTES)
    before = read(tmp_path)
    rename(tmp_path, "x", "z q")
    after = read(tmp_path)
    assert after["a.md"] == (
        "---\nup: '[[z q]]'\nby: \"[[z q/index]]\"\n---\n"
        "[[z q]] [[z q/]] [[z q|X]] [t](z%20q/) [[z q/index]]"
    )
    assert after["y/b.md"] == "[[z q]] [t](../z%20q/) [u](../z%20q/index.md) [[/z q]]"
    rename(tmp_path, "z q", "x")
    assert read(tmp_path) == before


def test_quotes_of_the_front_matter_are_kept(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "---\nup: '[[b|B]]'\nby: \"[[b#h]]\"\n---\n", "b.md": "# h"})
    before = read(tmp_path)
    rename(tmp_path, "b", 'it\'s "b"')
    assert read(tmp_path)["a.md"] == (
        '---\nup: \'[[it\'\'s "b"|B]]\'\nby: "[[it\'s \\"b\\"#h]]"\n---\n'
    )
    assert not [t for t in targets(load_vault(tmp_path)) if "(" in t]
    rename(tmp_path, 'it\'s "b"', "b")
    assert read(tmp_path) == before


def test_a_picture_is_renamed(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "![[p.png|9]] ![i](img/p.png)", "img/p.png": ""})
    rename(tmp_path, "img/p.png", "q.png")
    assert read(tmp_path)["a.md"] == "![[q.png|9]] ![i](img/q.png)"
    assert load_redirects(tmp_path) == {}


S6 = "---\nconcept: s6\n---\n[[claim:one]]\n\n```snippet s6/run\n```\n"
CONCEPT = {
    "docs/ru/ssm/selective/s6.md": S6,
    "docs/en/ssm/selective/s6.md": S6,
    "docs/ru/t.md": "[[s6]] [[claim:s6/one]] s6 `s6/run` [[claim:s6b/one]]\n",
    "docs/en/t.md": "[[s6|S6]] [[claim:s6/one]]\n\n- x\n\n  ```snippet s6/run\n  ```\n",
    "docs/concepts/s6.yml": "family: selective\nrequires: [s4]\nimplementation: [ssm_ref.s6.s6]\n",
    "docs/concepts/s6b.yml": (
        "family: x\nrequires: [s6, s6b_s6]\nimplementation: [ssm_ref.s6.s6]\nclaims:\n"
        "  - id: one\n    en: about s6/run\n    snippet: s6/run\n"
    ),
    "docs/concepts/s4.yml": "family: x\nrequires:\n  - s6\n  - s5\npapers: [s6]\n",
    "docs/snippets/s6/run.py": "print(6)\n",
    "ssm_ref/selective/s6.py": "",
    "tests/ssm_ref/selective/test_s6.py": "",
}


def everything(root: Path) -> dict[str, str]:
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != "redirects.yml"]
    return {path.relative_to(root).as_posix(): path.read_bytes().decode() for path in paths}


def test_a_concept_goes_with_its_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, CONCEPT)
    monkeypatch.chdir(tmp_path)
    before = everything(tmp_path)
    assert main(["rename", "ssm/selective/s6", "ssm/hybrid/s7"]) == 0
    said = capsys.readouterr().out
    assert "left, since imports and ties name them: ssm_ref/selective/s6.py, tests/" in said
    now = everything(tmp_path)
    assert now["docs/en/ssm/hybrid/s7.md"] == S6.replace("s6", "s7")
    assert now["docs/ru/t.md"] == "[[s7]] [[claim:s7/one]] s6 `s6/run` [[claim:s6b/one]]\n"
    assert "```snippet s7/run" in now["docs/en/t.md"]
    assert now["docs/concepts/s7.yml"].startswith("family: hybrid\nrequires: [s4]\nimplementation:")
    assert "ssm_ref.s6.s6" in now["docs/concepts/s7.yml"]
    assert "requires: [s7, s6b_s6]" in now["docs/concepts/s6b.yml"]
    assert "en: about s6/run\n    snippet: s7/run" in now["docs/concepts/s6b.yml"]
    assert now["docs/concepts/s4.yml"] == "family: x\nrequires:\n  - s7\n  - s5\npapers: [s6]\n"
    assert now["docs/snippets/s7/run.py"] == "print(6)\n"
    assert load_redirects(tmp_path / "docs") == {"ssm/selective/s6.md": "ssm/hybrid/s7.md"}
    assert main(["rename", "ssm/hybrid/s7", "ssm/selective/s6"]) == 0
    assert everything(tmp_path) == before


@pytest.mark.parametrize("new", ["S-7", "s4", "новое", "a#b", "a|b"])
def test_a_concept_keeps_a_slug_of_its_own(tmp_path: Path, new: str) -> None:
    write(tmp_path, CONCEPT)
    with pytest.raises(RenameError):
        plan_rename(load_vault(tmp_path / "docs"), "ssm/selective/s6", new)


NAMES = st.sampled_from(
    ["p", "p q", "имя", "ёж", "n/p", "n/m/p", "1", "v1.2", "it's", "50%", "T (1)"]
)
FOLDERS = st.sampled_from(["", "x/", "x/y/", "z/"])
MANNERS = [
    *("[[{name}]]", "[[{name}|t]]", "![[{name}]]", "[[/{path}]]", "[[{path}.md#h|t]]"),
    *("[t](</{path}.md>)", "[[{name}#H]]"),
]


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
    head = f"---\nup: '[[{home}target]]'\nby: [\"[[target#h|t]]\"]\n---\n"
    files = {f"{folder}s{i}.md": f"{head}{filler}\n\n{links}" for i, folder in enumerate(sources)}
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
