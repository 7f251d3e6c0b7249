"""From a page's Markdown to HTML: headings with ids, formulas, code, the fences of notes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from html import escape
from itertools import pairwise
from math import inf
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from ssm_tools.site.flowchart import flowchart
from ssm_tools.site.raw_html import harmless
from ssm_tools.site.rules import parser
from ssm_tools.site.tex import TexError, convert

WIDE = 24  # letters of a formula in a line that a phone may not hold: it scrolls by itself
COLUMNS = 4  # of a table that scrolls on a phone in any case
WORDY = 40  # letters of a cell that such a table would break into a column of single words
LONG = 110  # letters of a cell for which a table of three columns has no room on a phone either
_KEPT = re.compile(r"<math>(?:(?!</math>).)*</math>[.,;:!?»)]+", re.DOTALL)  # no line ends within
_TAG = re.compile(r"<[^>]*>")
_SIZE = re.compile(r"(\d{1,4})(?:x(\d{1,4}))?")
_INKLESS = re.compile(r'<span class="(?:n|p|w|o|nn|x)">([^<]*)</span>')  # of no colour of its own


@dataclass(frozen=True, slots=True)
class TocItem:
    """One heading of a page."""

    level: int
    id: str
    text: str


@dataclass(slots=True)
class Rendered:
    """A page's HTML, its headings, and the formulas that could not be read."""

    html: str
    toc: list[TocItem] = field(default_factory=list)
    faults: list[tuple[str, TexError]] = field(default_factory=list)


@dataclass(slots=True)
class Context:
    """What the fences and formulas of a page are rendered with.

    `fences` maps the first word of a fence's info to what renders it: `(info, content) → HTML`;
    `equation` gives the address of the line of code with an equation's number, and its title.
    """

    fences: Mapping[str, Callable[[str, str], str]] = field(default_factory=dict)
    equation: Callable[[str], tuple[str, str] | None] | None = None
    ids: bool = True
    faults: list[tuple[str, TexError]] = field(default_factory=list)


def render(text: str, context: Context | None = None) -> Rendered:
    """Return the HTML of a page's Markdown, without its front matter."""
    context = context or Context()
    md = _parser()
    env: dict[str, Any] = {"context": context}
    tokens = md.parse(text, env)
    for opener, inline, closer in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if opener.type == "th_open" and not inline.content:
            opener.tag = closer.tag = "td"  # the corner of a table heads nothing
    _give_room_to_words(tokens)
    toc = [
        TocItem(int(token.tag[1:]), str(token.attrGet("id")), _plain(inline))
        for token, inline in pairwise(tokens)
        if token.type == "heading_open"
    ]
    html = str(md.renderer.render(tokens, md.options, env))
    return Rendered(_KEPT.sub(r'<span class="kept">\g<0></span>', html), toc, context.faults)


def _give_room_to_words(tokens: Sequence[Token]) -> None:
    """Mark the long cells of tables of many columns: where these scroll, the cells need not fit."""
    columns = 0
    for opener, inline in pairwise(tokens):
        match opener.type:
            case "table_open":
                columns = 0
            case "th_open":
                columns += 1
            case "td_open" if len(_plain(inline)) > (
                WORDY if columns >= COLUMNS else LONG if columns == COLUMNS - 1 else inf
            ):
                opener.attrJoin("class", "words")


@cache
def _parser() -> MarkdownIt:
    md = parser()
    renderer: Any = md.renderer
    renderer.rules |= {
        "math_inline": _inline_formula,
        "math_display": _display_formula,
        "math_block": _display_formula,
        "comment_block": lambda *_: "",
        "image": _picture,
        "html_inline": _raw,
        "html_block": _raw,
        "fence": _fence,
        "heading_open": _heading_open,
        "heading_close": _heading_close,
        "blockquote_open": _quote_open,
        "table_open": lambda *_: '<div class="scroll" tabindex="0"><table>\n',
        "table_close": lambda *_: "</table></div>\n",
    }
    return md


def _plain(inline: Token) -> str:
    return "".join(
        child.content
        for child in inline.children or ()
        if child.type in ("text", "code_inline", "math_inline")
    ).strip()


def formula(tex: str, display: bool, context: Context) -> tuple[str, str]:
    """Return a formula's MathML and its number; what cannot be read is shown as it is written."""
    try:
        made = convert(tex, display)
    except TexError as error:
        context.faults.append((tex, error))
        return f'<code class="tex-fault" title="{escape(str(error))}">{escape(tex)}</code>', ""
    return made.mathml, made.tag


def _raw(tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    return harmless(tokens[index].content)


def sized(alt: str) -> tuple[str, dict[str, str]]:
    """Split Obsidian's `text|200x100` into the text and the width and height in pixels."""
    text, _, size = alt.rpartition("|")
    match = _SIZE.fullmatch(size.strip())
    if match is None:
        return alt, {}
    names = {"width": match.group(1), "height": match.group(2)}
    return text.strip(), {name: value for name, value in names.items() if value}


def _picture(tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    token = tokens[index]
    renderer: Any = _parser().renderer
    alt, size = sized(renderer.renderInlineAsText(token.children or [], options, env))
    shape = "".join(f' {name}="{value}"' for name, value in size.items())
    title = f' title="{escape(str(token.attrs["title"]))}"' if "title" in token.attrs else ""
    source = escape(str(token.attrs["src"]))
    return f'<img src="{source}" alt="{escape(alt)}"{shape}{title} loading="lazy">'


def _inline_formula(tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    made = formula(tokens[index].content, False, env["context"])[0]
    shown = _TAG.sub("", made.partition("<annotation")[0])
    if len(shown) <= WIDE:
        return made
    return f'<span class="wide" tabindex="0">{made}</span>'


def _display_formula(tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    context: Context = env["context"]
    body, tag = formula(tokens[index].content, True, context)
    wrap = "span" if tokens[index].type == "math_display" else "div"
    if not tag:
        return f'<{wrap} class="equation" tabindex="0">{body}</{wrap}>\n'
    number = f"({escape(tag)})"
    where = context.equation(tag) if context.equation else None
    if where:
        number = (
            f'<a class="equation__number" href="{escape(where[0])}" title="{escape(where[1])}">'
            f"{number}</a>"
        )
    else:
        number = f'<span class="equation__number">{number}</span>'
    identity = f' id="eq-{escape(tag)}"' if context.ids else ""
    return f'<{wrap} class="equation" tabindex="0"{identity}>{body}{number}</{wrap}>\n'


def _fence(tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    token = tokens[index]
    word, _, rest = token.info.strip().partition(" ")
    handler = env["context"].fences.get(word)
    if handler is not None:
        shown: str = handler(rest.strip(), token.content)
        return shown
    if word == "mermaid" and (drawn := flowchart(token.content)):
        return drawn
    return code(token.content, word)


def _heading_open(tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    token = tokens[index]
    if not env["context"].ids:
        return f'<p class="embedded-heading" data-level="{token.tag[1:]}">'
    return f'<{token.tag} id="{escape(str(token.attrGet("id")))}">'


def _heading_close(tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    tag = tokens[index].tag
    if not env["context"].ids:
        return "</p>\n"
    identity = escape(str(tokens[index - 2].attrGet("id")))
    if tag == "h1":
        return "</h1>\n"
    return (
        f'<a class="headerlink" href="#{identity}" aria-hidden="true" tabindex="-1">#</a></{tag}>\n'
    )


def _quote_open(tokens: Sequence[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    token = tokens[index]
    if token.tag == "blockquote":
        return "<blockquote>\n"
    title = _parser().renderInline(str(token.meta["title"]), env)
    kind = escape(str(token.attrGet("class")))
    if token.tag == "details":
        is_open = " open" if token.meta["fold"] == "+" else ""
        return f'<details class="{kind}"{is_open}>\n<summary>{title}</summary>\n'
    return f'<div class="{kind}">\n<p class="admonition-title">{title}</p>\n'


def code(text: str, language: str, *, caption: str = "") -> str:
    """Return highlighted code in the frame that the copy button looks for."""
    label = f"<figcaption>{caption}</figcaption>" if caption else ""
    body = highlighted(text, language)
    return (
        f'<figure class="code highlight">{label}'
        f'<pre tabindex="0"><code>{body}</code></pre></figure>\n'
    )


@lru_cache(maxsize=8192)
def highlighted(text: str, language: str) -> str:
    """Return code as spans with Pygments' classes; plain text where the language is unknown."""
    try:
        lexer = get_lexer_by_name(language or "text", stripnl=False)
    except ClassNotFound:
        return escape(text, quote=False)
    if lexer.name == "Text only":
        return escape(text, quote=False)
    marked = str(highlight(text, lexer, HtmlFormatter(nowrap=True))).rstrip("\n")
    return _INKLESS.sub(r"\1", marked)
