"""What strangers write in Obsidian, on the built page: every link that the engine saw is there."""

from __future__ import annotations

from pathlib import Path

from ssm_tools.site.build import build_site
from ssm_tools.site.config import SiteConfig

FILES = {
    "b.md": "# B\n\n## Is it so? {#so}\n\n![[p.png]]^pic\n",
    "p.png": "",
    "a.md": """---
up: "[[b]]"
---
# A

> [!tip] A title with [[b|the B]] and `code`
> [[b#Is it so]]

=== "Tab"

    [[b#^pic]]

    !!! note
        **[[b]]**

text

    code [[b]]

$$x$$ and ![[b]]

| a | b |
|---|---|
| [[b\\|x]] | ![[b]] |

### ![[b#so]] {#h}

Term
: about [t](b.md#so "title")

[no **note**](no.md), ![](no.png), [no place](b.md#no), [[b#no]]
""",
}


def test_every_link_is_on_the_page(tmp_path: Path) -> None:
    vault, out = tmp_path / "vault", tmp_path / "out"
    vault.mkdir()
    for name, text in FILES.items():
        (vault / name).write_text(text, encoding="utf-8")
    result = build_site(SiteConfig.for_vault(vault, out, "en"))
    assert [f for f in result.findings if f.code.startswith("B")] == []
    page = (out / "a.html").read_text(encoding="utf-8")
    assert (
        '<p class="admonition-title">A title with <a href="b.html" class="wiki">the B</a>' in page
    )
    assert "code [[b]]" in page
    assert "ssm-embed" not in page
    assert (
        '<span class="ghost" title="no.md">no <strong>note</strong></span>, '
        '<span class="ghost" title="no.png">no.png</span>, '
        '<a href="b.html">no place</a>, <a href="b.html" class="wiki ghost">b</a>'
    ) in page


def test_many_links_of_one_note_are_counted(tmp_path: Path) -> None:
    vault, out = tmp_path / "vault", tmp_path / "out"
    vault.mkdir()
    (vault / "a.md").write_text("See [[b]] here. " * 10_000, encoding="utf-8")
    (vault / "b.md").write_text("# B\n", encoding="utf-8")
    assert build_site(SiteConfig.for_vault(vault, out, "en")).findings == []
    page = (out / "b.html").read_text(encoding="utf-8")
    assert "<li>… + 9988</li>" in page
    assert len(page) < 100_000
