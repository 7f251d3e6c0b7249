"""A folder of notes, read once: its notes by id, its other files, and the names they answer to."""

from __future__ import annotations

import gc
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ssm_tools.findings import Finding
from ssm_tools.notes.model import Named, Note, NoteId, shared_path
from ssm_tools.notes.names import Names
from ssm_tools.notes.parse import parse_note
from ssm_tools.notes.source import decode
from ssm_tools.notes.targets import without_suffix

MAX_NOTE_BYTES = 16 * 1024 * 1024
SITE_MARK = ".ssm-notes"  # lies in the folder of every site that was built
_SKIPPED = {"node_modules", "__pycache__"}
_CODES = (
    "af ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl he hi hr hu hy id is it "
    "ja ka kk ko ky la lt lv mk mn ms nb nl nn no pl pt ro ru sk sl sq sr sv ta te th tr uk ur uz "
    "vi zh"
)
_LANGUAGES = frozenset(_CODES.split())


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in the vault's folder: notes and other files by path, and what was left out."""

    notes: Mapping[NoteId, os.stat_result]
    files: frozenset[str]
    languages: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Vault:
    """Notes by id, in the order of their paths. One language per folder, or one in all ("").

    Notes beside the folders of several languages belong to none ("") and are found from all."""

    root: Path
    languages: tuple[str, ...]
    notes: Mapping[NoteId, Note]
    files: frozenset[str]  # every other file, as posix paths relative to the root
    findings: tuple[Finding, ...] = field(default=(), repr=False)
    named: Mapping[NoteId, Named] | None = field(default=None, repr=False)  # where notes are costly

    @cached_property
    def names(self) -> Names:
        """The names by which notes and files are found."""
        return Names(self.languages, self.named or self.notes, self.files)

    @cached_property
    def _kin(self) -> dict[tuple[NoteId, str], dict[str, NoteId]]:
        """What `kin` has answered."""
        return {}

    @cached_property
    def _by_permalink(self) -> Mapping[str, dict[str, NoteId]]:
        """Permalink → language → note, of those that one note in a language has."""
        found: dict[str, dict[str, NoteId]] = defaultdict(dict)
        twice: set[str] = set()
        for note in (self.named or self.notes).values() if len(self.languages) > 1 else ():
            if note.permalink and note.language:
                if note.language in found[note.permalink]:
                    twice.add(note.permalink)
                found[note.permalink][note.language] = note.id
        return {key: notes for key, notes in found.items() if key not in twice}

    def kin(self, note: Named) -> dict[str, NoteId]:
        """The note's counterparts in the other languages, by language.

        They have the same path under their folders, or else the same `permalink` in the front
        matter, where folders and files are named in the language.
        """
        known = self._kin.get((note.id, note.permalink))
        if known is not None:
            return known
        found = self._kin[note.id, note.permalink] = {}
        alike = self._by_permalink.get(note.permalink, {}) if note.permalink else {}
        for language in self.languages if note.language else ():
            other = NoteId(f"{language}/{shared_path(note)}")
            if other not in self.notes and language in alike:
                other = alike[language]
            if language != note.language and other in self.notes:
                found[language] = other
        return found

    def text(self, note_id: NoteId) -> str:
        """The text of a note, which need not be parsed for it."""
        if self.named is None:
            return self.notes[note_id].text
        data = read_bytes(self.root, note_id)
        return "" if isinstance(data, Finding) else decode(data, note_id)[0]

    def translations(self, note: Note) -> dict[str, Note]:
        """The note's counterparts in the other languages, read."""
        return {language: self.notes[other] for language, other in self.kin(note).items()}

    def shared_key(self, note: Named) -> str:
        """What a note and its translations have in common: the path of the first of them."""
        if not note.permalink or not note.language:
            return shared_path(note)
        kin = {**self.kin(note), note.language: note.id}
        first = next(language for language in self.languages if language in kin)
        return kin[first][len(first) + 1 :]


def load_vault(root: Path, languages: tuple[str, ...] | None = None) -> Vault:
    """Read every note under `root`.

    `languages` are the folders that hold one language each; None looks for them, and a folder
    without them is a vault of one language. Raises `NotADirectoryError` where there is no folder.
    """
    if not root.is_dir():
        raise NotADirectoryError(f"no vault at {root}: not a folder")
    listing = list_vault(root, languages)
    notes: dict[NoteId, Note] = {}
    findings = list(listing.findings)
    with no_collection():
        for note_id in listing.notes:
            note = read_note(root, note_id, listing.languages)
            if isinstance(note, Finding):
                findings.append(note)
            else:
                notes[note_id] = note
    return Vault(root, listing.languages, notes, listing.files, tuple(findings))


def read_note(root: Path, note_id: NoteId, languages: tuple[str, ...]) -> Note | Finding:
    """Parse one note of the vault; a file that cannot be read is a finding."""
    data = read_bytes(root, note_id)
    if isinstance(data, Finding):
        return data
    return parse_note(data, note_id, language_of(note_id, languages), root / note_id)


def language_of(note_id: NoteId, languages: tuple[str, ...]) -> str:
    """The language folder that a note lies in, the empty string where it lies in none."""
    first = note_id.partition("/")[0]
    return first if first in languages else ""


def read_bytes(root: Path, note_id: NoteId) -> bytes | Finding:
    """Read one note's file; one that cannot be read, or is too large, is a finding."""
    try:
        with open(root / note_id, "rb") as file:
            data = file.read(MAX_NOTE_BYTES + 1)
    except OSError as error:
        return Finding(note_id, 1, 1, "F004", f"cannot be read: {error.strerror or error}")
    if len(data) > MAX_NOTE_BYTES:
        message = f"a note of more than {MAX_NOTE_BYTES // 2**20} MiB is not read"
        return Finding(note_id, 1, 1, "F005", message, "split the note")
    return data


def list_vault(root: Path, languages: tuple[str, ...] | None) -> Listing:
    """List the vault's files, hidden ones left out; links that lead out of it are findings."""
    real_root = os.path.realpath(root)
    notes: dict[str, os.stat_result] = {}
    files: set[str] = set()
    findings: list[Finding] = []
    for relative, entry in sorted(_walk(real_root, "", findings, {real_root})):
        if relative.lower().endswith(".md"):
            try:
                notes[relative] = entry.stat()
            except OSError as error:  # it was there when its folder was listed
                findings.append(Finding(relative, 1, 1, "F004", f"vanished: {error.strerror}"))
        else:
            files.add(relative)
    found = _languages(notes) if languages is None else languages
    kept: dict[NoteId, os.stat_result] = {}
    for relative, stat in notes.items():
        shared = languages is None and not _is_ours(relative, real_root)
        if not found or relative.partition("/")[0] in found or shared:
            kept[NoteId(relative)] = stat
        else:
            files.add(relative)
    return Listing(kept, frozenset(files), found, tuple(findings))


def _walk(
    folder: str, prefix: str, findings: list[Finding], above: set[str]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        findings.append(Finding(prefix or ".", 1, 1, "F004", f"cannot be listed: {error.strerror}"))
        return
    if any(entry.name == SITE_MARK for entry in entries):
        return  # a site that was built into its own vault
    root = min(above, key=len)
    for entry in entries:
        relative = prefix + entry.name
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            if real != root and not real.startswith(root + os.sep):
                message = "a symbolic link out of the vault is not followed"
                findings.append(Finding(relative, 1, 1, "F006", message))
                continue
            if real in above or not os.path.exists(real):
                message = "a symbolic link to a folder above it, or to nothing, is not followed"
                findings.append(Finding(relative, 1, 1, "F006", message))
                continue
        if entry.is_dir():
            inside = above | {os.path.realpath(entry.path)}
            yield from _walk(entry.path, relative + "/", findings, inside)
        elif entry.is_file():
            try:
                relative.encode("utf-8")
            except UnicodeEncodeError:
                shown = relative.encode("utf-8", "replace").decode()
                findings.append(Finding(shown, 1, 1, "F004", "the file's name is not UTF-8"))
                continue
            yield relative, entry


def _is_ours(relative: str, root: str) -> bool:
    """Whether a file beside the languages is no note: README, LICENSE; or of a knowledge base."""
    first, inside, _ = relative.partition("/")
    if not inside:
        return without_suffix(first).isupper()
    return first in ("concepts", "snippets", "assets") and os.path.isdir(f"{root}/concepts")


def _languages(notes: Mapping[str, os.stat_result]) -> tuple[str, ...]:
    """Folders named by a language code, where two or more hold half of the notes.

    A quarter is enough where two of them are alike in size, as translations are.
    """
    inside = Counter(path.partition("/")[0] for path in notes if "/" in path)
    coded = {name: n for name, n in inside.items() if name.partition("-")[0] in _LANGUAGES}
    if len(coded) < 2:
        return ()
    largest, second = sorted(coded.values(), reverse=True)[:2]
    wanted = 4 if 4 * second >= 3 * largest else 2
    if wanted * sum(coded.values()) < sum(inside.values()):
        return ()
    return tuple(sorted(coded, key=_ru_first))


def _ru_first(language: str) -> tuple[bool, str]:
    return language != "ru", language


@contextmanager
def no_collection() -> Iterator[None]:
    """Hold the cycle collector off while many small lasting objects are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
