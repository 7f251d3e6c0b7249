"""HTML of a note on a page: nothing that runs code is left, and the rest stands as it was."""

from __future__ import annotations

import pytest

from ssm_tools.site.markdown import render
from ssm_tools.site.raw_html import harmless

ROWS = [
    ("<br>", "<br>"),
    ("<sub>", "<sub>"),
    ('<a href="b.html#x" class="wiki">', '<a href="b.html#x" class="wiki">'),
    ('<a href="x" title="a: b &amp; c">', '<a href="x" title="a: b &amp; c">'),
    ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    ("<img src=x onerror=alert(1)>", '<img src="x">'),
    ("<img/onerror=alert(1) src=x>", '<img src="x">'),
    ('<img alt=">" onerror=alert(1)>', '<img alt="&gt;">'),
    ('<a href="java&#115;cript:alert(1)">', "<a>"),
    ('<a href=" java\tscript:alert(1)">', "<a>"),
    ('<iframe src="https://e.org" srcdoc="<p>">', '<iframe src="https://e.org">'),
    ("<svg><style>*{}</style></svg>", "<svg>&lt;style&gt;*{}&lt;/style&gt;</svg>"),
    ("<b>x & y &amp; z</b>", "<b>x &amp; y &amp; z</b>"),
    ("<div>\n<img src=x onerror=alert(1)//", "<div>\n&lt;img src=x onerror=alert(1)//"),
    ("<title>x", "&lt;title&gt;x"),
]


@pytest.mark.parametrize(("html", "shown"), ROWS)
def test_harmless(html: str, shown: str) -> None:
    assert harmless(html) == shown
    assert harmless(shown) == shown


PAGES = [
    ("# <script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
    ("a <i onclick=x>b</i>", "a <i>b</i>"),
    ("<javascript:alert(1)>", "&lt;javascript:alert(1)&gt;"),
    ("![a|30](p.png)", '<img src="p.png" alt="a" width="30" loading="lazy">'),
    ("![30x20](p.png 't')", '<img src="p.png" alt="" width="30" height="20" title="t" loading'),
    ("![30 x](p.png)", '<img src="p.png" alt="30 x" loading="lazy">'),
    ("- [x] a\n- b", '<li class="task-list-item"><input'),
    ("1. [ ] a", '<ol class="contains-task-list">'),
    ("- [x](b.md)", '<li><a href="b.md">x</a></li>'),
]


@pytest.mark.parametrize(("text", "html"), PAGES)
def test_page(text: str, html: str) -> None:
    assert html in render(text).html
