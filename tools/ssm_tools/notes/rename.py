"""Rename a note, a folder, a heading or a block: plan every edit first, then write.

A plan holds new texts, moves and redirects. Links keep the manner in which they were written, and
a link that still means the same is left alone; so renaming there and back changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ssm_tools.notes.edits import Edit, rewrite
from ssm_tools.notes.fragments import answers_to, obsidian_text
from ssm_tools.notes.model import Block, Heading, Link, Note, NoteId
from ssm_tools.notes.rename_concept import Following, following
from ssm_tools.notes.resolution import Found, Tier, resolve
from ssm_tools.notes.slug import slugify
from ssm_tools.notes.spelling import respelt
from ssm_tools.notes.targets import without_suffix
from ssm_tools.notes.vault import Vault

_UNLINKABLE = set("#^|[]\n")


class RenameError(ValueError):
    """The rename cannot be done as asked; the message says why."""


@dataclass(frozen=True)
class Plan:
    """What a rename will do: `texts` by the path before, `moves` from path to path, redirects.

    `files` are texts of other files that change (concepts), by the path before; `left` are files
    that bear the old name and stay as they are.
    """

    texts: Mapping[NoteId, str] = field(default_factory=dict)
    moves: Mapping[str, str] = field(default_factory=dict)
    redirects: Mapping[str, str] = field(default_factory=dict)
    links: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()


def plan_rename(vault: Vault, old: str, new: str) -> Plan:
    """Plan to rename `old` (a note, folder, `note#heading`, `note#^block`) to `new`.

    In a vault of several languages a path without a language means all of them. Raises
    `RenameError` where `old` is nothing, or the new name is taken.
    """
    path, mark, fragment = old.partition("#")
    if mark:
        return _plan_fragment(vault, path, fragment, new)
    moves = _moves(vault, path.strip("/"), new)
    taken = [b for a, b in moves.items() if (b in vault.notes or b in vault.files) and b != a]
    if taken:
        raise RenameError(f"{taken[0]} is there already")
    try:
        more = following(vault, moves)
    except ValueError as error:
        raise RenameError(str(error)) from error
    return _plan_moves(vault, moves | more.moves, more)


def _moves(vault: Vault, old: str, new: str) -> dict[str, str]:
    moves: dict[str, str] = {}
    rooted = new.startswith("/")  # else a bare name stays in its folder
    new = new.strip("/")
    if not new or ".." in new.split("/"):
        raise RenameError(f"{new!r} is no path inside the vault")
    if set(new) & _UNLINKABLE:
        raise RenameError(f"{new!r} cannot be linked to: a link ends at # ^ | [ ]")
    for prefix in _prefixes(vault, old):
        source, target = prefix + old, prefix + new
        note = source if source.lower().endswith(".md") else source + ".md"
        if note in vault.notes:
            if "/" not in new and "/" in old and not rooted:
                target = f"{note.rpartition('/')[0]}/{new}"
            moves[note] = target if target.lower().endswith(".md") else target + ".md"
            continue
        if source in vault.files:
            near = f"{source.rpartition('/')[0]}/{new}"
            moves[source] = near if "/" not in new and "/" in old and not rooted else target
            continue
        for path in (*vault.notes, *vault.files):
            if path.startswith(source + "/"):
                moves[path] = target + path[len(source) :]
    if not moves:
        moves = _by_name(vault, old, f"/{new}" if rooted else new)
    return moves


def _prefixes(vault: Vault, old: str) -> list[str]:
    if not vault.languages or old.partition("/")[0] in vault.languages:
        return [""]
    return [f"{language}/" for language in vault.languages]


def _by_name(vault: Vault, old: str, new: str) -> dict[str, str]:
    named = [note for note in vault.notes.values() if note.slug == without_suffix(old)]
    keys = sorted({note.key for note in named})
    if not keys:
        raise RenameError(f"no note or folder {old!r}")
    if len(keys) > 1:
        raise RenameError(f"{old!r} could mean {', '.join(keys)}")
    folder = keys[0].rpartition("/")[0]
    name = new.lstrip("/") if "/" in new or not folder else f"{folder}/{new}"
    name = name if name.lower().endswith(".md") else name + ".md"
    return {n.id: n.id[: len(n.id) - len(n.key)] + name for n in named}


def _plan_moves(vault: Vault, moves: dict[str, str], more: Following) -> Plan:
    after = _moved(vault, moves)
    texts: dict[NoteId, str] = {}
    count = 0
    for note in vault.notes.values():
        here = after.notes[NoteId(moves.get(note.id, note.id))]
        edits: list[Edit] = []
        for link in note.links:
            before = resolve(vault, note, link)
            if not isinstance(before, Found) or not link.path or link.target_start < 0:
                continue
            wanted = moves.get(before.target, before.target)
            now = resolve(after, here, link)
            stale = before.tier is Tier.EXACT and link.path.startswith(".")
            if (
                not isinstance(now, Found)
                or now.target != wanted
                or (stale and now.tier is not Tier.EXACT)
            ):
                full = before.tier is Tier.EXACT
                path = respelt(link, wanted, after, here, full=full)
                edits.append(_path_edit(note, link, path))
        count += len(edits)
        if edits := [*edits, *more.edits.get(note.id, ())]:
            texts[note.id] = rewrite(note.text, dict.fromkeys(edits))
    redirects = _redirects(vault, moves)
    return Plan(texts, moves, redirects, count, more.files, tuple(more.left))


def _moved(vault: Vault, moves: Mapping[str, str]) -> Vault:
    notes = {}
    for note in vault.notes.values():
        new = NoteId(moves.get(note.id, note.id))
        notes[new] = note if new == note.id else replace(note, id=new)
    files = frozenset(moves.get(path, path) for path in vault.files)
    return Vault(vault.root, vault.languages, notes, files)


def _path_edit(note: Note, link: Link, path: str) -> Edit:
    start, end = link.target_start, link.target_end
    written = note.text[start:end]
    mark = written.find("#")
    stop = end if mark < 0 else start + mark
    if link.kind in ("markdown", "image") and note.text[start - 1 : start] != "<":
        path = path.replace("%", "%25").replace(" ", "%20")
    quote = note.text[link.start - 1 : link.start] if link.kind == "property" else ""
    if quote == "'":
        path = path.replace("'", "''")
    elif quote == '"':
        path = path.replace("\\", "\\\\").replace('"', '\\"')
    return start, stop, path


def _redirects(vault: Vault, moves: Mapping[str, str]) -> dict[str, str]:
    """Old path to new path of pages; without the language where all languages move alike."""
    pages = {a: b for a, b in moves.items() if a in vault.notes}
    shared: dict[str, str] = {}
    for old, new in pages.items():
        note = vault.notes[NoteId(old)]
        prefix = f"{note.language}/" if note.language else ""
        twins = [f"{language}/{note.key}" for language in vault.languages] or [old]
        together = all(twin in pages or twin not in vault.notes for twin in twins)
        if together and new.startswith(prefix):
            shared[note.key] = new.removeprefix(prefix)
        else:
            shared[old] = new
    return shared


def _plan_fragment(vault: Vault, path: str, fragment: str, new: str) -> Plan:
    notes = _named(vault, path.strip("/"))
    plans = []
    for note in notes:
        if fragment.startswith("^"):
            block = next((b for b in note.blocks if b.id == fragment[1:]), None)
            if block is not None:
                plans.append(_plan_block(vault, note, block, new.removeprefix("^")))
        else:
            last = fragment.rpartition("#")[2]
            heading = next((h for h in note.headings if last in (h.id, h.text)), None)
            if heading is not None:
                plans.append(_plan_heading(vault, note, heading, last, new))
    if not plans:
        raise RenameError(f"no {'block' if fragment.startswith('^') else 'heading'} #{fragment}")
    texts = _merged(vault, plans)
    redirects = {a: b for _, redirect in plans for a, b in redirect.items()}
    links = sum(len(edits) for plan, _ in plans for edits in plan.values()) - len(plans)
    return Plan(texts, {}, redirects, links)


Edits = dict[NoteId, list[Edit]]


def _named(vault: Vault, path: str) -> list[Note]:
    name = path if path.lower().endswith(".md") else path + ".md"
    found = [
        vault.notes[NoteId(p + name)] for p in _prefixes(vault, path) if p + name in vault.notes
    ]
    found = found or [note for note in vault.notes.values() if f"{note.slug}.md" == name]
    if len({note.key for note in found}) != 1:
        what = "no note" if not found else "several notes are called"
        raise RenameError(f"{what} {path!r}")
    return found


def _merged(vault: Vault, plans: list[tuple[Edits, dict[str, str]]]) -> dict[NoteId, str]:
    edits: Edits = {}
    for plan, _ in plans:
        for note_id, some in plan.items():
            edits.setdefault(note_id, []).extend(some)
    return {
        note_id: rewrite(vault.notes[note_id].text, dict.fromkeys(some))
        for note_id, some in edits.items()
    }


def _plan_block(vault: Vault, note: Note, block: Block, new: str) -> tuple[Edits, dict[str, str]]:
    if any(other.id == new for other in note.blocks):
        raise RenameError(f"^{new} is taken in {note.id}")
    edits: Edits = {note.id: [(block.mark_start, block.mark_end, f"^{new}")]}
    _edit_fragments(vault, note, edits, block, lambda part: f"^{new}")
    return edits, {f"{note.id}#^{block.id}": f"{note.id}#^{new}"}


def _plan_heading(
    vault: Vault, note: Note, heading: Heading, written: str, new: str
) -> tuple[Edits, dict[str, str]]:
    by_id = heading.explicit and written == heading.id
    identity = new if by_id or heading.explicit else slugify(new)
    taken = [h for h in note.headings if h is not heading and h.id == identity]
    if taken and (by_id or not heading.explicit):
        raise RenameError(f"#{identity} is taken in {note.id}")
    raw = note.text[heading.start : heading.end]
    if by_id:
        start = heading.start + raw.rindex(f"#{heading.id}") + 1
        edits: Edits = {note.id: [(start, start + len(heading.id), new)]}
    else:
        shown = raw.partition("{")[0] if heading.explicit else raw
        end = heading.start + len(shown.rstrip())
        edits = {note.id: [(heading.start, end, new)]}
        identity = heading.id if heading.explicit else identity

    def part(old: str) -> str:
        if by_id:
            return new if old == heading.id else old
        return identity if old == heading.id else obsidian_text(new)

    _edit_fragments(vault, note, edits, heading, part)
    if identity == heading.id:
        return edits, {}
    return edits, {f"{note.id}#{heading.id}": f"{note.id}#{identity}"}


def _edit_fragments(
    vault: Vault,
    note: Note,
    edits: Edits,
    place: Heading | Block,
    renamed: Callable[[str], str],
) -> None:
    """Add the edits of all links whose fragment goes by way of the heading or block."""
    for source in vault.notes.values():
        for link in source.links:
            if not link.fragment or link.target_start < 0:
                continue
            answer = resolve(vault, source, link)
            if not isinstance(answer, Found) or answer.target != note.id or not answer.place:
                continue
            parts = list(link.fragment)
            for index, part in enumerate(parts):
                last = index == len(parts) - 1
                if last and answer.place.target is not place:
                    continue
                if not last and not (isinstance(place, Heading) and answers_to(note, place, part)):
                    continue
                parts[index] = renamed(part)
            if tuple(parts) != link.fragment:
                mark = source.text.find("#", link.target_start, link.target_end) + 1
                text = "#".join(parts)
                if link.kind == "markdown":
                    text = text.replace(" ", "%20")
                edits.setdefault(source.id, []).append((mark, link.target_end, text))
