"""The page about the link engine: what it can do, and the codes of its findings."""

from __future__ import annotations

from html import escape

from ssm_tools.site.engine_codes import code_rows
from ssm_tools.site.engine_features import FEATURES
from ssm_tools.site.markdown import TocItem
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.strings import strings

CODES = (
    ("C0…", "понятия и их привязки к коду, тестам, статьям",
     "concepts and their ties to code, tests and papers"),
    ("S0…", "примеры кода: ошибка, таймаут, вывод не тот", "snippets: errors, timeouts, output"),
    ("B001", "пример не запускался или устарел", "a snippet has no result or a stale one"),
    ("B002", "формула не читается", "a formula cannot be read"),
    ("B003", "ссылка готовой страницы не ведёт туда, куда велел движок",
     "a link of the built site does not lead where the engine said"),
)  # fmt: skip


NONE_ELSEWHERE = (
    "Строк про два языка, предпосылки, коды с правкой, переадресацию из переименований, "
    "код и тесты понятия и сверку готового HTML нет ни у одного из сравнённых движков: "
    "Obsidian Publish, Quartz, Foam, плагины MkDocs, Zensical, marksman, markdown-oxide.",
    "The rows on two languages, prerequisites, codes with repairs, redirects from renames, a "
    "concept's code and tests, and the check of the finished HTML are in none of the engines "
    "compared: Obsidian Publish, Quartz, Foam, the MkDocs plugins, Zensical, marksman, "
    "markdown-oxide.",
)
OBSIDIAN = (
    ("Откройте как хранилище папку одного языка, `docs/ru` или `docs/en`: имя не уведёт в другой.",
     "Open the folder of one language, `docs/ru` or `docs/en`: no name leads to the other then."),
    ("Files and links → New link format: Shortest path when possible.",) * 2,
    ("Files and links → Use [[Wikilinks]]: включено.", "Files and links → Use [[Wikilinks]]: on."),
    ("Имя с двумя ответами здесь ошибка; Obsidian молча берёт заметку из той же папки, а если её "
     "нет — ту, чей путь короче.",
     "A name with two answers is an error here; Obsidian silently takes the note in the same "
     "folder, or else the one with the shortest path."),
    ("Не работают там: ссылки на работы `[[@key]]`, знаки утверждений `[[claim:…]]`, ссылки с "
     "видом связи `[[contrast::a]]`; по `{#id}` откроется заметка, а не раздел.",
     "What does not work there: citations `[[@key]]`, marks of claims `[[claim:…]]`, links with a "
     "relation `[[contrast::a]]`; an id `{#id}` opens the note, not the section."),
)  # fmt: skip
MEASURED = (
    ("`python tests/bench/bench_notes.py`: 10 000 заметок, 80 000 ссылок, доли времени, за которое "
     "markdown-it-py только разбирает те же заметки (ноябрь 2026, 2 общих ядра).",
     "`python tests/bench/bench_notes.py`: 10,000 notes, 80,000 links, as shares of the time in "
     "which markdown-it-py only parses the same notes (November 2026, 2 shared cores)."),
    ("Прочесть, разрешить и проверить всё: 0,71.", "Read, resolve and check everything: 0.71."),
    ("После правки одной заметки: 0,009 в открытом сеансе, 0,026 в новом процессе.",
     "After an edit of one note: 0.009 in a kept session, 0.026 in a new process."),
    ("Память: 201 МиБ. Время на заметку при десятикратном числе заметок: 1,10.",
     "Memory: 201 MiB. Time for a note at ten times the notes: 1.10."),
)  # fmt: skip


def _list(rows: tuple[tuple[str, str], ...], russian: bool) -> str:
    items = "".join(f"<li>{_code(ru if russian else en)}</li>" for ru, en in rows)
    return f"<ul>{items}</ul>"


def engine_page(sources: Sources, language: str) -> Page:
    """Return the page about the engine."""
    russian = sources.tongue(language) == "ru"
    words = strings(sources.tongue(language))
    measured = "Измерено" if russian else "Measured"
    intro, features, codes = (
        ("Заметки связаны ссылками `[[имя]]`; каждая разобрана один раз, с позицией, и проверена "
         "ещё раз в готовом HTML.", "Что умеет", "Коды находок")
        if russian
        else ("Notes are tied by `[[name]]` links; each is parsed once, with its position, and "
              "checked again in the finished HTML.", "What it does", "Codes of findings")
    )  # fmt: skip
    rows = "".join(
        f"<tr><td>{_code(ru if russian else en)}</td><td>{_code(how)}</td></tr>"
        for ru, en, how in FEATURES
    )
    own = "".join(
        f"<tr><td><code>{code}</code></td><td>{severity}</td><td>{_code(meaning)}</td></tr>"
        for code, severity, meaning in code_rows(russian=russian)
    )
    listed = own + "".join(
        f"<tr><td><code>{code}</code></td><td></td><td>{escape(ru if russian else en)}</td></tr>"
        for code, ru, en in CODES
    )
    html = (
        f"<p>{_code(intro)}</p>"
        f'<h2 id="features">{features}</h2>'
        f'<div class="scroll" tabindex="0"><table>{rows}</table></div>'
        f"<p>{escape(NONE_ELSEWHERE[0 if russian else 1])}</p>"
        f'<h2 id="obsidian">Obsidian</h2>{_list(OBSIDIAN, russian)}'
        f'<h2 id="measured">{measured}</h2>{_list(MEASURED, russian)}'
        f'<h2 id="codes">{codes}</h2><div class="scroll" tabindex="0"><table>{listed}</table></div>'
    )
    plain = "".join(f"- {ru if russian else en}: {how}\n" for ru, en, how in FEATURES)
    toc = [
        TocItem(2, "features", features),
        TocItem(2, "obsidian", "Obsidian"),
        TocItem(2, "measured", measured),
        TocItem(2, "codes", codes),
    ]
    return Page(
        sources.generated("engine", language), language, words["engine"], html, "list",
        toc=toc, markdown=f"# {words['engine']}\n\n{intro}\n\n{plain}",
    )  # fmt: skip


def _code(text: str) -> str:
    """Escaped text with `code` marked up."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
