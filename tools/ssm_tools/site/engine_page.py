"""The page about the link engine: what it can do, and the codes of its findings."""

from __future__ import annotations

from html import escape

from ssm_tools.site.engine_features import FEATURES
from ssm_tools.site.markdown import TocItem
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.strings import strings

CODES = (
    ("F001–F006", "файл: кодировка, YAML, размер, ссылки наружу",
     "the file: encoding, YAML, size, links out of the vault"),
    ("L0…", "ссылки: сломанные, двусмысленные, неточно записанные, в одном языке",
     "links: broken, ambiguous, loosely spelt, in one language only"),
    ("H0…", "заголовки и идентификаторы", "headings and ids"),
    ("T0…", "переводы: нет страницы, отстал раздел, разные рёбра графа",
     "translations: a page is missing, a section fell behind, edges differ"),
    ("C0…", "понятия и их привязки к коду, тестам, статьям",
     "concepts and their ties to code, tests and papers"),
    ("S0…", "примеры кода: ошибка, таймаут, вывод не тот", "snippets: errors, timeouts, output"),
    ("B001", "пример не запускался или устарел", "a snippet has no result or a stale one"),
    ("B002", "формула не читается", "a formula cannot be read"),
    ("B003", "ссылка готовой страницы не ведёт туда, куда велел движок",
     "a link of the built site does not lead where the engine said"),
    ("G0…", "граф: круги предпосылок, тупики", "the graph: circles of prerequisites, dead ends"),
)  # fmt: skip


def engine_page(sources: Sources, language: str) -> Page:
    """Return the page about the engine."""
    russian = sources.tongue(language) == "ru"
    words = strings(sources.tongue(language))
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
    listed = "".join(
        f"<tr><td><code>{code}</code></td><td>{escape(ru if russian else en)}</td></tr>"
        for code, ru, en in CODES
    )
    html = (
        f"<p>{_code(intro)}</p>"
        f'<h2 id="features">{features}</h2>'
        f'<div class="scroll" tabindex="0"><table>{rows}</table></div>'
        f'<h2 id="codes">{codes}</h2><div class="scroll" tabindex="0"><table>{listed}</table></div>'
    )
    plain = "".join(f"- {ru if russian else en}: {how}\n" for ru, en, how in FEATURES)
    toc = [TocItem(2, "features", features), TocItem(2, "codes", codes)]
    return Page(
        sources.generated("engine", language), language, words["engine"], html, "list",
        toc=toc, markdown=f"# {words['engine']}\n\n{intro}\n\n{plain}",
    )  # fmt: skip


def _code(text: str) -> str:
    """Escaped text with `code` marked up."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
