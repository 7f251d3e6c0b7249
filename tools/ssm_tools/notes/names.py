"""The names that notes and files answer to, in each language and each spelling."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ssm_tools.notes.model import Named, NoteId
from ssm_tools.notes.slug import SPELLINGS, as_written

Key = Callable[[str], str]
FOLDER_NOTES = ("index.md", "README.md", "readme.md", "_index.md")


@dataclass(slots=True)
class Pool:
    """The paths of one language, and of the files outside all languages, by last name."""

    by_name: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # spelling → name
    entries: list[tuple[str, str]] = field(default_factory=list)  # (name, path without .md)
    paths: dict[str, str] = field(default_factory=dict)  # path without .md → path

    def add(self, path: str, is_note: bool) -> None:
        """Enter a note under its name and, as a folder's note, under the folder's."""
        bare = path[:-3] if is_note else path
        self.paths[bare] = path
        self.entries.append((bare.rpartition("/")[2], bare))

    def candidates(self, spelling: str, key: Key, asked: str) -> list[str]:
        """Paths (without .md) whose tail is `asked`, both spelt by `key`."""
        if spelling not in _ENDS and not self.candidates(*LOOSEST, asked):
            return []  # so most names that nothing answers to cost one table, not five
        table = self.by_name.get(spelling)
        if table is None:
            table = self.by_name[spelling] = defaultdict(list)
            for name, bare in self.entries:
                table[key(name)].append(bare)
        wanted = key(asked)
        found = table.get(wanted.rpartition("/")[2], ())
        if "/" not in wanted:
            return list(found)
        tail = "/" + wanted
        return [bare for bare in found if ("/" + key(bare)).endswith(tail)]


class Names:
    """One pool for each language; files outside the languages belong to all of them."""

    def __init__(
        self, languages: Iterable[str], notes: Mapping[NoteId, Named], files: Iterable[str]
    ) -> None:
        self.languages = tuple(languages) or ("",)
        everywhere = dict.fromkeys((*self.languages, ""))  # "": what notes of no language see
        self.pools = {language: Pool() for language in everywhere}
        self.folders = {language: Pool() for language in everywhere}
        self.aliases: dict[str, dict[str, dict[str, list[str]]]] = {}
        self._with_aliases = [item for item in notes.items() if item[1].aliases]
        # The pools that a thing of a language belongs to; one of no language is in all of them.
        seen = {language: (language, "") for language in everywhere} | {"": tuple(everywhere)}
        for note_id, note in notes.items():
            for language in seen[note.language]:
                self._add_note(language, note_id)
        for path in sorted(files):
            for language in seen.get(path.partition("/")[0], everywhere):
                self.pools[language].add(path, is_note=False)

    def _add_note(self, language: str, note_id: NoteId) -> None:
        self.pools[language].add(note_id, is_note=True)
        folder, _, name = note_id.rpartition("/")
        if name in FOLDER_NOTES and folder and folder not in self.languages:
            pool = self.folders[language]
            known = pool.paths.get(folder)
            if known is None:
                pool.entries.append((folder.rpartition("/")[2], folder))
            elif FOLDER_NOTES.index(known.rpartition("/")[2]) < FOLDER_NOTES.index(name):
                return
            pool.paths[folder] = note_id

    def aliased(self, language: str, spelling: str, key: Key, asked: str) -> list[str]:
        """Notes of the language whose front matter lists the name as an alias."""
        if spelling not in _ENDS and not self.aliased(language, *LOOSEST, asked):
            return []
        tables = self.aliases.setdefault(language, {})
        if spelling not in tables:
            table: dict[str, list[str]] = defaultdict(list)
            for note_id, note in self._with_aliases:
                if note.language in (language, "") or not language:
                    for alias in note.aliases:
                        if note_id not in table[key(alias)]:
                            table[key(alias)].append(note_id)
            tables[spelling] = table
        return list(tables[spelling].get(key(asked), ()))


ALL_SPELLINGS: tuple[tuple[str, Key], ...] = (("exact", as_written), *SPELLINGS)
LOOSEST = ALL_SPELLINGS[-1]  # names that are alike in any spelling are alike in this one
_ENDS = (ALL_SPELLINGS[0][0], LOOSEST[0])
