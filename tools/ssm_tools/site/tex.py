"""TeX formulas as MathML, made when the site is built: no script, no fonts, nothing to load."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Literal

from ssm_tools.site import tex_symbols as names

_TOKEN = re.compile(
    r"(?P<space>\s+|%[^\n]*\n?)|(?P<command>\\(?:[A-Za-z]+|.|\n))|"
    r"(?P<number>\d+(?:(?:\.|\{,\})\d+)*)|(?P<char>.)",
    re.DOTALL,
)
MAX_DEPTH = 60
Kind = Literal["ord", "limits", "script"]
_MATRIX = {
    "matrix": ("", ""), "pmatrix": ("(", ")"), "bmatrix": ("[", "]"), "Bmatrix": ("{", "}"),
    "vmatrix": ("|", "|"), "Vmatrix": ("‖", "‖"), "smallmatrix": ("", ""),
}  # fmt: skip
_ALIGNED = {"aligned", "align", "align*", "split", "alignat", "eqnarray", "gathered", "gather"}
_IGNORED = {
    "displaystyle", "textstyle", "scriptstyle", "nonumber", "notag", "limits", "nolimits",
    "allowbreak", "nobreak", "mathstrut", "strut", "relax",
}  # fmt: skip


class TexError(ValueError):
    """A formula that cannot be read: `position` counts in the formula."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula as MathML, and the number that `\\tag` gives it."""

    mathml: str
    tag: str


@dataclass(slots=True)
class _Atom:
    markup: str
    kind: Kind = "ord"


@lru_cache(maxsize=4096)
def convert(tex: str, display: bool = False) -> Formula:
    """Return the MathML of a formula.

    Raises:
        TexError: a command is unknown, or braces or environments do not close.
    """
    parser = _Parser(tex)
    body = parser.row(())
    mode = ' display="block"' if display else ""
    source = escape(tex.strip(), quote=False)
    return Formula(
        f"<math{mode}><semantics>{body}"
        f'<annotation encoding="application/x-tex">{source}</annotation></semantics></math>',
        parser.tag,
    )


def _row(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"


def _mo(text: str, attributes: str = "") -> str:
    return f"<mo{attributes}>{escape(text, quote=False)}</mo>"


def _fence(name: str) -> str:
    """Attributes of a delimiter that keeps its size; a bar is a letter to TeX, not a relation."""
    opens, closes = name[0] in "l([{", name[0] in "r)]}"
    side = ' form="prefix"' if opens else ' form="postfix"' if closes else ""
    bar = ' lspace="0" rspace="0"' if name in ("|", "vert", "Vert") else ""
    return f'{side}{bar} stretchy="false"'


class _Parser:
    """A recursive reader of one formula."""

    def __init__(self, tex: str) -> None:
        self.tokens = [
            (match.group(), match.start(), match.lastgroup or "")
            for match in _TOKEN.finditer(tex)
            if match.lastgroup != "space"
        ]
        self.index = 0
        self.depth = 0
        self.tag = ""
        self.font = ""
        self.tex = tex

    def peek(self) -> str:
        """The next token, empty at the end."""
        return self.tokens[self.index][0] if self.index < len(self.tokens) else ""

    def take(self) -> str:
        """Return the next token and pass it."""
        if self.index >= len(self.tokens):
            raise self.error("the formula ends too early")
        self.index += 1
        return self.tokens[self.index - 1][0]

    def error(self, message: str) -> TexError:
        """The error at the token just passed."""
        at = min(max(self.index - 1, 0), len(self.tokens) - 1)
        return TexError(message, self.tokens[at][1] if self.tokens else 0)

    def row(self, stops: tuple[str, ...]) -> str:
        """Read atoms with their scripts up to one of the stops, which is left unread."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"braces nested deeper than {MAX_DEPTH}")
        parts: list[str] = []
        while (token := self.peek()) and token not in stops:
            if token in ("}", "&", "\\\\", "\\right", "\\end"):
                self.index += 1
                raise self.error(f"{token} without its beginning")
            if part := self.scripted():
                parts.append(part)
        if stops and not self.peek():
            raise self.error(f"{stops[0]} is missing")
        self.depth -= 1
        return _row(parts)

    def scripted(self) -> str:
        """Read one atom with its primes, sub- and superscripts."""
        base = _Atom("<mrow></mrow>") if self.peek() in ("^", "_", "'") else self.atom()
        limits = base.kind == "limits"
        sub, sup, primes = "", "", 0
        while (token := self.peek()) in ("^", "_", "'", "\\limits", "\\nolimits"):
            self.index += 1
            if token in ("\\limits", "\\nolimits"):
                limits = token == "\\limits"
            elif token == "'":
                primes += 1
            elif token == "^":
                sup = sup + self.argument()
            else:
                sub = sub + self.argument()
        markup = base.markup
        if primes:  # the sign is high already: as a superscript it would be raised and shrunk again
            prime = f'<mo form="postfix" lspace="0" rspace="0">{"′" * primes}</mo>'
            markup = f"<mrow>{markup}{prime}</mrow>"
        if not sub and not sup:
            return markup
        low, high, both = (
            ("munder", "mover", "munderover") if limits else ("msub", "msup", "msubsup")
        )
        name = both if sub and sup else low if sub else high
        return f"<{name}>{markup}{sub}{sup}</{name}>"

    def argument(self) -> str:
        """Read one argument: a group, or a single atom."""
        if self.peek() == "{":
            return self.group()
        token, place, kind = self.tokens[self.index] if self.peek() else ("", 0, "")
        if kind == "number" and len(token) > 1:  # x^12 means x^{1}2
            self.tokens[self.index] = (token[1:], place + 1, kind)
            return f"<mn>{token[0]}</mn>"
        return self.atom().markup

    def group(self) -> str:
        """Read `{...}` as one row."""
        if self.take() != "{":
            raise self.error("{ is missing")
        font = self.font
        inner = self.row(("}",))
        self.take()
        self.font = font
        return inner

    def words(self) -> str:
        """Read `{...}` as plain text, as it is written."""
        if self.take() != "{":
            raise self.error("{ is missing")
        begin, depth = self.tokens[self.index - 1][1] + 1, 1
        while depth:
            token = self.take()
            depth += (token == "{") - (token == "}")
        return self.tex[begin : self.tokens[self.index - 1][1]]

    def optional(self) -> str:
        """Read `[...]` where it stands, as MathML."""
        if self.peek() != "[":
            return ""
        self.take()
        inner = self.row(("]",))
        self.take()
        return inner

    def atom(self) -> _Atom:
        """Read one atom."""
        token, _, kind = self.tokens[self.index] if self.peek() else ("", 0, "")
        if token == "{":
            return _Atom(self.group())
        self.take()
        if kind == "number":
            digits = token.replace("{,}", ",")
            return _Atom(f"<mn>{''.join(names.styled(d, self.font) for d in digits)}</mn>")
        if kind == "command":
            return self.command(token[1:])
        return self.character(token)

    def character(self, token: str) -> _Atom:
        """One character that is no command."""
        if token.isalpha():
            return _Atom(self.letter(token))
        if token == "~":
            return _Atom('<mspace width="0.25em"/>')
        if token == "-":
            return _Atom("<mo>−</mo>")
        if token in "()[]|":
            return _Atom(_mo(token, _fence(token)))
        if token == "/":
            return _Atom(_mo("/", ' lspace="0" rspace="0"'))
        if token in ":":
            return _Atom(_mo(":", ' lspace="0.22em" rspace="0.22em"'))
        return _Atom(_mo("∗" if token == "*" else token))

    def letter(self, letter: str) -> str:
        """An identifier in the font in force: italic where nothing is said."""
        if self.font in ("", "italic"):
            return f"<mi>{escape(letter)}</mi>"
        if self.font == "normal":
            return f'<mi mathvariant="normal">{escape(letter)}</mi>'
        return f'<mi mathvariant="normal">{names.styled(letter, self.font)}</mi>'

    def command(self, name: str) -> _Atom:
        """One command, its arguments read."""
        if found := self.symbol(name):
            return found
        if name in names.FONTS:
            return _Atom(self.in_font(names.FONTS[name]))
        if name in _IGNORED:
            return _Atom("")
        if name in names.BIG:
            size = f' minsize="{names.BIG[name]}em" maxsize="{names.BIG[name]}em"'
            form = {"l": "prefix", "r": "postfix"}.get(name[-1], "infix")
            return _Atom(_mo(self.delimiter(), f' form="{form}" stretchy="true"{size}'))
        handler = _HANDLERS.get(name)
        if handler is None:
            raise self.error(f"unknown TeX command \\{name}")
        return handler(self, name)

    def symbol(self, name: str) -> _Atom | None:
        """A command that stands for a letter, an operator, a function or a space."""
        if name in names.ITALIC:
            return _Atom(self.letter(names.ITALIC[name]))
        if name in names.UPRIGHT:
            letter = names.styled(names.UPRIGHT[name], self.font)
            return _Atom(f'<mi mathvariant="normal">{letter}</mi>')
        if name in names.OPERATORS:
            return _Atom(_mo(names.OPERATORS[name]))
        if name in names.LARGE:
            return _Atom(_mo(names.LARGE[name], ' movablelimits="true"'), "limits")
        if name in names.INTEGRALS:
            return _Atom(_mo(names.INTEGRALS[name]))
        if name in names.FUNCTIONS or name in names.LIMITS:
            return self.function(name, name in names.LIMITS)
        if name in names.SPACES:
            return _Atom(f'<mspace width="{names.SPACES[name]}em"/>')
        if f"\\{name}" in names.DELIMITERS:
            return _Atom(_mo(names.DELIMITERS[f"\\{name}"], _fence(name)))
        if name in "#$%&_":
            return _Atom(f"<mi>{escape(name)}</mi>")
        return None

    def function(self, name: str, limits: bool) -> _Atom:
        """An operator's name, set upright, with a thin space where an argument follows."""
        space = "0" if self.peek() in ("(", "[", "\\left", "^", "_", "{", "") else "0.1667em"
        attributes = f' form="prefix" lspace="0.1667em" rspace="{space}"'
        if limits:
            return _Atom(_mo(name, f'{attributes} movablelimits="true"'), "limits")
        return _Atom(_mo(name, attributes))

    def in_font(self, font: str) -> str:
        """Read an argument in another font; words of several letters become one identifier."""
        before, self.font = self.font, font
        start = self.index
        if font == "normal" and self.peek() == "{":
            text = self.words()
            if re.fullmatch(r"[\w \-]+", text):
                self.font = before
                return f'<mi mathvariant="normal">{escape(text)}</mi>'
            self.index = start
        inner = self.argument()
        self.font = before
        return inner

    def delimiter(self) -> str:
        """Read a delimiter after \\left, \\right or \\big."""
        token = self.take()
        if token not in names.DELIMITERS:
            raise self.error(f"{token} is no delimiter")
        return names.DELIMITERS[token]

    def cells(self, stop: str) -> list[list[str]]:
        """Read rows of cells up to `stop`, which is passed."""
        rows: list[list[str]] = [[]]
        while True:
            while self.peek() == "\\hline":
                self.take()
            rows[-1].append(self.row(("&", "\\\\", stop)))
            token = self.take()
            if token == stop:
                break
            if token == "\\\\":
                if self.peek() == "[":
                    while self.take() != "]":
                        pass
                rows.append([])
        if len(rows) > 1 and rows[-1] == ["<mrow></mrow>"]:
            rows.pop()
        return rows


def _table(rows: list[list[str]], name: str) -> str:
    body = "".join(
        f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in cells)}</mtr>" for cells in rows
    )
    return f'<mtable class="tex-{name}">{body}</mtable>'


def _fraction(parser: _Parser, name: str) -> _Atom:
    line = ' linethickness="0"' if name == "binom" else ""
    style = {"dfrac": ' displaystyle="true"', "tfrac": ' displaystyle="false"'}.get(name, "")
    markup = f"<mfrac{line}{style}>{parser.argument()}{parser.argument()}</mfrac>"
    return _Atom(f"<mrow><mo>(</mo>{markup}<mo>)</mo></mrow>" if name == "binom" else markup)


def _root(parser: _Parser, name: str) -> _Atom:
    index = parser.optional()
    inner = parser.argument()
    return _Atom(f"<mroot>{inner}{index}</mroot>" if index else f"<msqrt>{inner}</msqrt>")


def _accent(parser: _Parser, name: str) -> _Atom:
    wide = name in names.WIDE
    mark = names.WIDE[name] if wide else names.ACCENTS[name]
    stretch = str(wide).lower()
    over = _mo(mark, f' stretchy="{stretch}"')
    markup = f'<mover accent="true">{parser.argument()}{over}</mover>'
    return _Atom(markup, "limits" if name == "overbrace" else "ord")


def _under(parser: _Parser, name: str) -> _Atom:
    mark = _mo(names.UNDER[name], ' stretchy="true"')
    return _Atom(f"<munder>{parser.argument()}{mark}</munder>", "limits")


def _line(parser: _Parser, name: str) -> _Atom:
    return _Atom(f'<mrow class="tex-{name}">{parser.argument()}</mrow>')


def _text(parser: _Parser, name: str) -> _Atom:
    words = escape(parser.words().replace("\\_", "_"), quote=False)
    if words != words.strip():
        words = (
            ("\u00a0" if words[:1] == " " else "")
            + words.strip()
            + ("\u00a0" if words[-1:] == " " else "")
        )
    return _Atom(f"<mtext>{words}</mtext>")


def _operator(parser: _Parser, name: str) -> _Atom:
    starred = parser.peek() == "*"
    if starred:
        parser.take()
    words = re.sub(r"\\[,;: !]", "\u2009", parser.words()).strip("{}")
    return parser.function(escape(words, quote=False), starred)


def _left(parser: _Parser, name: str) -> _Atom:
    opening = parser.delimiter()
    parts = [_mo(opening, ' form="prefix" stretchy="true"')] if opening else []
    while True:
        parts.append(parser.row(("\\right", "\\middle")))
        if parser.take() == "\\right":
            break
        parts.append(_mo(parser.delimiter(), ' stretchy="true"'))
    if closing := parser.delimiter():
        parts.append(_mo(closing, ' form="postfix" stretchy="true"'))
    return _Atom(f"<mrow>{''.join(parts)}</mrow>")


def _begin(parser: _Parser, name: str) -> _Atom:
    kind = parser.words()
    plain = kind.rstrip("*")
    if plain == "array" or plain == "alignat":
        parser.words()
    rows = parser.cells("\\end")
    if (end := parser.words()) != kind:
        raise parser.error(f"\\begin{{{kind}}} ends with \\end{{{end}}}")
    if plain in _MATRIX:
        left, right = _MATRIX[plain]
        table = _table(rows, "matrix")
        return _Atom(f"<mrow>{_mo(left)}{table}{_mo(right)}</mrow>" if left else table)
    if plain in ("cases", "rcases"):
        brace = _mo("{", ' form="prefix" stretchy="true"')
        return _Atom(f"<mrow>{brace}{_table(rows, 'cases')}</mrow>")
    if plain in _ALIGNED:
        return _Atom(_table(rows, "gather" if plain.startswith("gather") else "align"))
    if plain == "array":
        return _Atom(_table(rows, "matrix"))
    raise parser.error(f"unknown environment {kind}")


def _tag(parser: _Parser, name: str) -> _Atom:
    if parser.peek() == "*":
        parser.take()
    parser.tag = parser.words().strip()
    return _Atom("")


def _label(parser: _Parser, name: str) -> _Atom:
    parser.words()
    return _Atom("")


def _stack(parser: _Parser, name: str) -> _Atom:
    first, second = parser.argument(), parser.argument()
    if name == "underset":
        return _Atom(f"<munder>{second}{first}</munder>")
    return _Atom(f"<mover>{second}{first}</mover>")


def _arrow(parser: _Parser, name: str) -> _Atom:
    mark = _mo("→" if name == "xrightarrow" else "←", ' stretchy="true"')
    below, above = parser.optional(), parser.argument()
    if below:
        return _Atom(f"<munderover>{mark}{below}{above}</munderover>")
    return _Atom(f'<mover>{mark}<mpadded lspace="0.4em" width="+0.8em">{above}</mpadded></mover>')


def _substack(parser: _Parser, name: str) -> _Atom:
    if parser.take() != "{":
        raise parser.error("{ is missing")
    return _Atom(_table(parser.cells("}"), "gather"))


def _class(parser: _Parser, name: str) -> _Atom:
    return _Atom(parser.argument(), "limits" if name == "mathop" else "ord")


def _phantom(parser: _Parser, name: str) -> _Atom:
    return _Atom(f"<mphantom>{parser.argument()}</mphantom>")


def _not(parser: _Parser, name: str) -> _Atom:
    inner = parser.atom().markup
    return _Atom(inner.replace("</mo>", "\u0338</mo>"))


def _color(parser: _Parser, name: str) -> _Atom:
    parser.words()  # colours belong to the theme: both schemes must stay readable
    return _Atom(parser.argument() if name == "textcolor" else "")


def _modulo(parser: _Parser, name: str) -> _Atom:
    return _Atom(
        f"<mrow><mo>(</mo><mi>mod</mi><mspace width='0.3em'/>{parser.argument()}<mo>)</mo></mrow>"
    )


_HANDLERS: dict[str, Callable[[_Parser, str], _Atom]] = {
    **dict.fromkeys(("frac", "dfrac", "tfrac", "binom"), _fraction),
    **dict.fromkeys((*names.ACCENTS, *names.WIDE), _accent),
    **dict.fromkeys(names.UNDER, _under),
    **dict.fromkeys(("overline", "underline", "boxed", "cancel"), _line),
    **dict.fromkeys(("text", "textrm", "textit", "textbf", "texttt", "mbox", "textsf"), _text),
    **dict.fromkeys(("overset", "underset", "stackrel"), _stack),
    **dict.fromkeys(("xrightarrow", "xleftarrow"), _arrow),
    **dict.fromkeys(("mathop", "mathbin", "mathrel", "mathord", "mathopen", "mathclose"), _class),
    **dict.fromkeys(("mathinner", "smash", "ensuremath"), _class),
    **dict.fromkeys(("phantom", "hphantom", "vphantom"), _phantom),
    **dict.fromkeys(("color", "textcolor"), _color),
    "sqrt": _root,
    "operatorname": _operator,
    "left": _left,
    "begin": _begin,
    "tag": _tag,
    "label": _label,
    "substack": _substack,
    "not": _not,
    "pmod": _modulo,
}
