"""The ledger of claims: each with its evidence, its state, and where it is said."""

from __future__ import annotations

from collections import defaultdict
from html import escape

from ssm_tools.concepts import LedgerEntry, locate_test
from ssm_tools.site.links import claim_state
from ssm_tools.site.listing import code_address
from ssm_tools.site.markdown import TocItem
from ssm_tools.site.model import Page, Sources
from ssm_tools.site.strings import strings
from ssm_tools.site.urls import relative, with_fragment


def ledger_page(sources: Sources, language: str) -> Page:
    """Return the page of all claims, concept by concept."""
    address = sources.generated("claims", language)
    tongue = sources.tongue(language)
    words = strings(tongue)
    groups: dict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in sources.ledger:
        groups[entry.concept.slug].append(entry)
    head = "".join(f'<th scope="col">{words[k]}</th>' for k in ("statement", "state", "evidence"))
    parts, toc, plain = [], [], []
    for slug, entries in groups.items():
        note = sources.concept_notes.get((slug, language))
        title = note.title if note else slug
        shown = escape(title)
        if note:
            shown = f'<a href="{relative(sources.addresses[note.id], address)}">{shown}</a>'
        rows = "".join(_row(sources, entry, address, tongue) for entry in entries)
        parts.append(
            f'<h2 id="{escape(slug)}">{shown}</h2><div class="scroll" tabindex="0"><table>'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )
        toc.append(TocItem(2, slug, title))
        plain += [f"- {entry.claim.texts.get(tongue)} ({entry.state})\n" for entry in entries]
    markdown = f"# {words['ledger']}\n\n{''.join(plain)}"
    html = "".join(parts)
    return Page(address, language, words["ledger"], html, "list", toc=toc, markdown=markdown)


def _row(sources: Sources, entry: LedgerEntry, address: str, tongue: str) -> str:
    state = escape(claim_state(entry.state, tongue))
    return (
        f'<tr id="{escape(entry.key)}">'
        f'<td class="words">{escape(entry.claim.texts.get(tongue, ""))}</td>'
        f'<td><span class="state state--{entry.state}">{state}</span></td>'
        f"<td>{_evidence(sources, entry, address)}</td></tr>"
    )


def _evidence(sources: Sources, entry: LedgerEntry, address: str) -> str:
    claim = entry.claim
    tie = str(claim.evidence)
    if claim.kind == "test":
        path = tie.partition("::")[0]
        line = locate_test(sources.config.root, tie)
        href = relative(code_address(path), address) + (f"#L{line}" if line else "")
        shown = tie.rpartition("::")[2] or path
    elif claim.kind == "paper":
        key = tie.partition(",")[0].strip()
        language = next((x for x in sources.languages if address.startswith(f"{x}/")), "")
        page = sources.generated("references", language)
        href, shown = with_fragment(relative(page, address), key), tie
    elif claim.kind == "snippet":
        name = entry.concept.snippet_id(claim.evidence)
        href, shown = relative(f"files/snippets/{name}.py", address), tie
    else:
        return f"<code>kernels/results/{escape(tie)}</code>"
    return f'<a href="{escape(href)}"><code>{escape(shown)}</code></a>'
