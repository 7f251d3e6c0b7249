"""Markdown as pages, search words, names of pages: small rules that the whole site rests on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from ssm_kernels.bench.row import operators_hash, source_hash
from ssm_tools.concepts import Paper
from ssm_tools.concepts.rows import NO_SOURCES, operator_hash
from ssm_tools.site.context import script_json
from ssm_tools.site.layout import place
from ssm_tools.site.links import LinkWriter, short_reference
from ssm_tools.site.markdown import Context, render
from ssm_tools.site.measured import is_stale, measured_markdown
from ssm_tools.site.model import read_glossary
from ssm_tools.site.quotes import quote, without_marks
from ssm_tools.site.search import spellings, stem, synonyms, words_of
from ssm_tools.site.strings import strings
from ssm_tools.site.urls import page_path, relative, with_fragment
from ssm_tools.site.verify import opened

if TYPE_CHECKING:
    from ssm_tools.site.model import Sources


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("## Зачем {#why}", '<h2 id="why">Зачем'),
        ("## Ключ", '<h2 id="ключ">'),
        ("a `$x$` b", "<code>$x$</code>"),
        ("%%hidden%%shown", "<p>shown</p>"),
        ("==lit==", "<mark>lit</mark>"),
        ('!!! note "T"\n    body', '<p class="admonition-title">T</p>'),
        ("> [!tip] T\n> body", '<div class="admonition tip">'),
        ('??? tip "T"\n    body', '<details class="admonition tip">\n<summary'),
        ('???+ tip "T"\n    body', '<details class="admonition tip" open="">'),
        ("> [!tip]- T\n> body", '<details class="admonition tip">\n<summary>T</summary>'),
        ("> [!tip]+ T\n> > deep", "</blockquote>\n</details>"),
        ('=== "A *b*"\n    one\n\n=== "C"\n    two', "<em>b</em></label>"),
        ('=== "A"\n    one\n=== "C"\n    two', '</div>\n<input type="radio"'),
        ('=== "A"\n\n    ```python\n    x\n    ```', '<figure class="code highlight">'),
        ("Title\n=====", '<h1 id="title">'),
        ("Где:\n- a\n- b", "<li>a</li>"),
        ("```nosuch\n<b>\n```", "&lt;b&gt;"),
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
    ],
)
def test_renders(text: str, holds: str) -> None:
    assert holds in render(text).html


def test_long_cells_have_room_where_a_table_has_many_columns() -> None:
    row = f"| a | b | c | {'word ' * 9}|"
    assert '<td class="words">word' in render(f"| a | b | c | d |\n|---|---|---|---|\n{row}").html
    assert render(f"| a | b | c | d |\n|---|---|---|---|\n{row}").html.count("words") == 1
    three = "| a | b | c |\n|---|---|---|\n"
    assert "words" not in render(three + row[4:]).html
    assert render(f"{three}| a | b | {'word ' * 30}|").html.count("words") == 1


def test_a_claim_with_bars_does_not_end_the_cell_it_stands_in() -> None:
    claim = SimpleNamespace(texts={"en": "g = ln |λ| is below 0."})
    ledger = [SimpleNamespace(key="lru/decay", claim=claim, state="held")]
    sources = SimpleNamespace(ledger=ledger, generated=lambda *_: "c.html", tongue=lambda _: "en")
    link = LinkWriter(cast("Sources", sources), "lru.html", "en")
    html = render(f"| a | b |\n|---|---|\n| x {link._claim('lru', 'decay')} | y |").html
    assert 'title="claim: g = ln |λ| is below 0. — ' in html
    assert html.count("<td>") == 2


def test_hyphens_divide_names_in_the_search_as_in_what_is_asked() -> None:
    glossary = [{"ru": "дельта-правило", "en": "delta rule"}]
    vault = SimpleNamespace(notes={})
    found = synonyms(cast("Sources", SimpleNamespace(vault=vault, glossary=glossary)))
    assert found == {"delta rule": ["дельт прав"], "дельт прав": ["delta rule"]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("правило", "правилом"),
        ("ядро", "ядер"),
        ("сверткой", "сверток"),
        ("состояние", "состояниях"),
        ("распознавание", "распознаванию"),
        ("quantisation", "quantization"),
        ("discretised", "discretizing"),
        ("matrix", "matrices"),
        ("recognition", "recognising"),
    ],
)
def test_forms_of_a_word_have_one_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_a_word_is_found_in_both_spellings_and_without_its_hyphen() -> None:
    assert set(spellings("quantisation")) == {"quantisation", "quantization"}
    assert set(spellings("organized")) == {"organised", "organized"}
    assert spellings("noise") == ("noise",)
    assert {"rwkv-7", "rwkv7", "rwkv", "7"} <= set(words_of("RWKV-7 in short"))


def test_what_stands_in_brackets_is_no_part_of_a_name() -> None:
    glossary = [{"ru": "ядро", "en": "kernel (of a convolution)"}]
    vault = SimpleNamespace(notes={})
    found = synonyms(cast("Sources", SimpleNamespace(vault=vault, glossary=glossary)))
    assert found == {"kernel": ["ядр"], "ядр": ["kernel"]}


def test_notes_of_the_glossary_speak_the_language_of_the_page() -> None:
    for entry in read_glossary(Path(__file__).parents[3]):
        note = entry.get("note") or ""
        for tongue, words in note.items() if isinstance(note, dict) else [("ru", note)]:
            plain = re.sub(r"«[^»]*»", "", words)  # the other language may be quoted
            assert not (tongue == "ru" and re.search(r"\b(?:of|the|not|in|is|a)\b", plain)), entry
            assert not (tongue == "en" and re.search("[а-яё]", plain, re.IGNORECASE)), entry


def test_a_full_stop_stays_on_the_line_of_its_formula() -> None:
    html = render("Let $x$, not $y$ alone; $z$.").html
    assert html.count('<span class="kept"><math>') == 2
    assert "</math>,</span> not <math>" in html
    assert "</math>.</span>" in html


def test_tabs_that_follow_each_other_are_one_set() -> None:
    text = '=== "A"\n    one\n\n    === "In"\n        deep\n\n=== "B"\n    two\n\n'
    html = render(text + '===! "C"\n    three\n===+ "D"\n    four\n').html
    assert html.count('class="tabs"') == 3
    assert html.count(" checked>") == 3
    names = re.findall(r'name="([^"]*)"', html)
    assert names[0] == names[2] != names[1]
    assert names[3] == names[4] != names[0]
    assert 'checked><label for="' + re.findall(r'id="([^"]*)"', html)[-1] in html


def test_equation_numbers_link_to_code() -> None:
    html = render("$$\nx \\tag{1}\n$$", Context(equation=lambda n: (f"#L{n}", "code"))).html
    assert 'id="eq-1"' in html
    assert '<a class="equation__number" href="#L1"' in html


@pytest.mark.parametrize(
    ("form", "met"),
    [
        ("дискретизацию", "дискретизация"),
        ("матрицей", "матрица"),
        ("свертка", "свёртки"),
        ("states", "state"),
    ],
)
def test_forms_share_a_stem(form: str, met: str) -> None:
    assert stem(words_of(form)[0]) == stem(words_of(met)[0])


@pytest.mark.parametrize(
    ("key", "path"),
    [("a/b.md", "a/b.html"), ("README.md", "index.html"), ('q?"<.md', "q_.html")],
)
def test_page_paths(key: str, path: str) -> None:
    assert page_path(key) == path


def test_addresses_are_relative_and_quoted() -> None:
    assert relative("ru/a b.html", "ru/x/c.html") == "../a%20b.html"
    assert opened("../a%20b.html#%D1%8F", "ru/x/c.html") == ("ru/a b.html", "я")
    assert with_fragment("a.html", "^b") == "a.html#^b"


def test_script_data_cannot_close_its_element() -> None:
    text = script_json({"title": "</script><script>alert(1)</script>"})
    assert "<" not in text
    assert json.loads(text)["title"].startswith("</script>")


def test_places_are_the_same_each_time() -> None:
    edges = ((0, 1), (1, 2))
    first = place(("a", "a", "b"), edges)
    place.cache_clear()
    assert place(("a", "a", "b"), edges) == first
    assert place((), ()) == ()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("One: claim:a Two: claim:b/c-d", "One. Two."),
        ("claim:a The rest", " The rest"),
        ("A, claim:a, claim:b.", "A."),
        ("(see gu2023mamba); @gu2023mamba", "(see Gu & Dao, 2023); Gu & Dao, 2023"),
        ("no2020work stays, as a claim: of two", "no2020work stays, as a claim: of two"),
    ],
)
def test_quotes_show_no_marks(text: str, shown: str) -> None:
    paper = Paper("gu2023mamba", "Mamba", ("Albert Gu", "Tri Dao"), "arXiv", 2023, "")
    assert without_marks(text, {"gu2023mamba": paper}, "en") == shown


def test_a_quote_is_not_cut_inside_a_formula() -> None:
    text = "The rule $1 - z = \\sigma(v)$ with $z = e^{-v}$ holds."
    assert quote(text, len(text)).count("<math>") == 2
    for limit in range(len(text)):
        for end in (False, True):
            shown = quote(text, limit, end=end)
            assert not re.search(r"[$\\]", re.sub("<math>.*?</math>", "", shown)), shown


@pytest.mark.parametrize(
    ("authors", "shown"),
    [
        (("Albert Gu",), "Gu, 2024"),
        (("Albert Gu", "Tri Dao"), "Gu & Dao, 2024"),
        (("Bo Peng", "Eric Alcaide", "Quentin Anthony"), "Peng et al., 2024"),
        (("Qi Lv", "et al."), "Lv et al., 2024"),
        (("Johannes von Oswald", "Soham De"), "von Oswald & De, 2024"),
        (("Kimi Team",), "Kimi Team, 2024"),
        (("IBM Research", "Princeton University", "et al."), "IBM Research et al., 2024"),
        (("Allen Institute for AI",), "Allen Institute for AI, 2024"),
        ((), "2024"),
    ],
)
def test_short_references_name_people_by_their_family_and_bodies_in_full(
    authors: tuple[str, ...], shown: str
) -> None:
    assert short_reference(authors, 2024, "en") == shown


def test_rows_are_written_out_as_markdown(tmp_path: Path) -> None:
    folder = tmp_path / "kernels/results"
    folder.mkdir(parents=True)
    row = {"op": "op", "impl": "ssm_kernels", "ms": 0.5, "shape": [2, 3], "run": 1, "device": "d"}
    (folder / "op.jsonl").write_text(json.dumps(row), encoding="utf-8")
    text = measured_markdown(tmp_path, "op", strings("en"))
    assert text.startswith("| sizes | implementation | ms |\n| --- | --- | --- |\n| 2 × 3 |")
    assert measured_markdown(tmp_path, "op", strings("ru")).startswith(
        "| размеры | реализация | мс |"
    )
    assert measured_markdown(tmp_path, "none", strings("en")) == strings("en")["no_rows"]


def test_rows_are_fresh_while_the_measured_sources_stand(tmp_path: Path) -> None:
    folder = tmp_path / "kernels/ssm_kernels/op"
    folder.mkdir(parents=True)
    (folder / "kernel.py").write_text("x = 1\n", encoding="utf-8")
    (folder / "op.py").write_text("y = 1\n", encoding="utf-8")
    recorded = source_hash(folder)
    assert operator_hash(tmp_path, "op") == recorded
    every = operator_hash(tmp_path, "language_model")  # no folder of that name: all operators
    assert every == operators_hash(folder.parent)
    assert not is_stale(tmp_path, {"op": "attention", "source_hash": NO_SOURCES})
    assert not is_stale(tmp_path, {"op": "op", "source_hash": recorded})
    assert is_stale(tmp_path, {"op": "op", "source_hash": "another"})
    (folder / "op.py").write_text("y = 2\n", encoding="utf-8")
    assert operator_hash(tmp_path, "op") != recorded
    assert operator_hash(tmp_path, "language_model") != every
