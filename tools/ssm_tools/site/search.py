"""The search index of a language: stems of every word of its pages, made when the site is built.

The browser has no stemmer. The index therefore carries every form met in the corpus with its stem;
a form that was never met falls back to the stems that share its beginning.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache
from html import unescape
from math import log2

import snowballstemmer

from ssm_tools.site.context import script_json
from ssm_tools.site.model import Page, Sources

WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
PART = re.compile(r"[^\W_]+")  # as the page's script divides what is asked
_SKIPPED = re.compile(
    r"<(annotation|pre|svg|script|style|figcaption)\b.*?</\1>|<math\b.*?</math>", re.DOTALL
)
_TAG = re.compile(r"<[^>]+>")
_SECTION = re.compile(r'<h([2-4]) id="([^"]*)">(.*?)</h\1>', re.DOTALL)
_SPACE = re.compile(r"\s+")
TITLE, DESCRIPTION, HEADING, MOST = 20, 6, 6, 60
LISTED = 0.4  # the text of glossary, ledger and code pages: they name everything once
CODE = 0.2  # the title of a page of code: the note of that name comes first
# Stems that one word has: a fleeting vowel, a noun that looks like a verb, an irregular plural.
ALIKE = {
    "правил": "прав", "ядер": "ядр", "чисел": "числ", "окон": "окн", "сверток": "свертк",
    "ячеек": "ячейк", "ошибок": "ошибк", "оценок": "оценк", "картинок": "картинк",
    "рамок": "рамк", "настроек": "настройк", "нормировок": "нормировк", "ссылок": "ссылк",
    "ловушек": "ловушк", "меток": "метк", "выборок": "выборк", "matric": "matrix",
    "recognit": "recogn", "recogniz": "recogn",
}  # fmt: skip
_BRITISH = re.compile(r"(?<=[a-z]{3})is(?=(?:e[drs]?|ers?|ing|ations?)$)")
SHOWN = 240


def fold(word: str) -> str:
    """Return a word as it is compared: small letters, е for ё."""
    return word.casefold().replace("ё", "е")


@cache
def _stemmers() -> tuple[snowballstemmer.RussianStemmer, snowballstemmer.EnglishStemmer]:
    return snowballstemmer.stemmer("russian"), snowballstemmer.stemmer("english")


@cache
def stem(word: str) -> str:
    """Return the stem of a folded word in the language of its letters."""
    russian, english = _stemmers()
    if any("а" <= letter <= "я" for letter in word):
        found = str(russian.stemWord(word))
    else:
        found = str(english.stemWord(_BRITISH.sub("iz", word)))
    return ALIKE.get(found, found)


def words_of(text: str) -> list[str]:
    """Return the folded words of a text; a hyphenated word is also its parts and one word."""
    found = WORD.findall(fold(text))
    joined = [word for word in found if "-" in word]
    found += [part for word in joined for part in word.split("-")]
    return found + [word.replace("-", "") for word in joined]


def spellings(word: str) -> tuple[str, ...]:
    """Return a word in the two spellings of English: `quantisation`, `quantization`."""
    american = _BRITISH.sub("iz", word)
    british = re.sub(r"(?<=[a-z]{3})iz(?=(?:e[drs]?|ers?|ing|ations?)$)", "is", word)
    return tuple(dict.fromkeys((word, american, british)))


def text_of(html: str) -> str:
    """Return what a reader reads of HTML, without code, formulas and drawings."""
    return _SPACE.sub(" ", unescape(_TAG.sub(" ", _SKIPPED.sub(" ", html)))).strip()


def sections(page: Page) -> list[tuple[str, str, str]]:
    """Return the sections of a page: id, heading, text; the first has neither id nor heading."""
    if not page.sections:
        page.sections = _sections(page)
    return page.sections


def _sections(page: Page) -> list[tuple[str, str, str]]:
    parts = _SECTION.split(page.html)
    found = [("", "", text_of(parts[0]))]
    for index in range(1, len(parts), 4):
        _, identity, heading, body = parts[index : index + 4]
        shown = text_of(heading.partition('<a class="headerlink"')[0])
        found.append((unescape(identity), shown, text_of(body)))
    return found


def search_file(sources: Sources, language: str, pages: list[Page]) -> dict[str, bytes]:
    """Return the index of a language as a script, which works from files as well."""
    documents: list[list[object]] = []
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    forms: set[str] = set()
    for page in pages:
        if page.kind in ("graph", "lost"):
            continue
        aliases = " ".join(page.note.aliases) if page.note else ""
        named_only = page.address.endswith("references.html")  # or every name would lead there
        for identity, heading, text in [("", "", "")] if named_only else sections(page):
            number = len(documents)
            path = page.address.removeprefix(f"{language}/") if language else page.address
            title = page.title if not heading else f"{page.title} › {heading}"
            also = page.note.aliases if page.note and not heading else ()
            documents.append([path, identity, title, text[:SHOWN], *map(_key, also)])
            slug = page.address.rpartition("/")[2].removesuffix(".html")
            named = f"{page.title} {aliases} {slug}"
            of_page = page.description if not heading else ""
            weigh = 1.0 if page.note else LISTED
            found: Counter[str] = Counter()
            pieces = [(of_page, DESCRIPTION), (heading, HEADING)]
            if not heading:
                pieces.append((named, round(TITLE * CODE) if page.kind == "api" else TITLE))
            for piece, weight in pieces:
                words = set(words_of(piece))
                forms.update(words)
                for root in {stem(word) for word in words}:
                    found[root] += weight
            met: Counter[str] = Counter()
            for word, times in Counter(words_of(text)).items():
                forms.add(word)
                met[stem(word)] += times
            for root, times in met.items():
                found[root] += max(1, round(weigh * (1 + 2 * log2(times))))
            for root, score in found.items():
                postings[root].append((number, min(score, MOST)))
    data = {
        "docs": documents,
        "post": {root: _flat(scores) for root, scores in sorted(postings.items())},
        "forms": {
            word: root
            for word in sorted({spelt for form in forms for spelt in spellings(form)})
            if (root := stem(word)) != word
        },
        "same": synonyms(sources),
    }
    address = f"{language}/search-index.js".lstrip("/")
    return {address: f"window.SSM_INDEX={script_json(data)};".encode()}


def _flat(scores: list[tuple[int, int]]) -> list[int]:
    """Numbers and scores by turns, the numbers as differences: short to write."""
    flat, last = [], 0
    for number, score in scores:
        flat += [number - last, score]
        last = number
    return flat


def _key(name: str) -> str:
    """The stems of a name, as the page's script makes them of what is asked."""
    return " ".join(stem(word) for word in PART.findall(fold(name)))


def synonyms(sources: Sources) -> dict[str, list[str]]:
    """Return, for each term of the glossary and each title, as stems, its other names."""
    same: dict[str, list[str]] = defaultdict(list)
    terms = [
        [note.title, *(other.title for other in sources.vault.translations(note).values())]
        for note in sources.vault.notes.values()
        if sources.home(note) == sources.languages[0]
    ]
    for entry in sources.glossary:
        given = entry.get("forms") or []
        names = [entry.get("ru"), entry.get("en"), *(given if isinstance(given, list) else [given])]
        terms.append([str(name) for name in names if name])
    for names in terms:
        keys = list(dict.fromkeys(_key(name.partition(" (")[0]) for name in names))
        for key in keys:
            same[key] += [other for other in keys if other != key and other not in same[key]]
    return {key: others for key, others in sorted(same.items()) if others}
