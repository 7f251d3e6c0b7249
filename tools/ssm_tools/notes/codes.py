"""Every code a finding of the link engine can carry, with what it says and what repairs it."""

from __future__ import annotations

from typing import NamedTuple

from ssm_tools.findings import Severity

ERROR, WARNING, HINT = Severity.ERROR, Severity.WARNING, Severity.HINT


class Code(NamedTuple):
    """One row of the table of codes."""

    code: str
    severity: Severity
    meaning: str
    repair: str
    fixable: bool = False


CODES: dict[str, Code] = {
    row.code: row
    for row in (
        Code("L001", ERROR, "a link to nothing", "take the name that is suggested"),
        Code("L002", ERROR, "a link with several answers", "write more of the path"),
        Code("L003", ERROR, "the note has no such heading", "take the heading that is suggested"),
        Code("L004", ERROR, "the note has no such block id", "put ^id at the end of the block"),
        Code("L005", ERROR, "a link that leads out of the vault", "link to a file inside"),
        Code("L006", ERROR, "a destination that runs code", "remove it"),
        Code("L007", WARNING, "a name spelt otherwise than the file's", "--fix", True),
        Code("L008", WARNING, "a link by an alias", "--fix", True),
        Code("L009", WARNING, "a link answered only in another language", "write the note"),
        Code("L010", ERROR, "an empty link", "name a note or remove the brackets"),
        Code("L011", WARNING, "a heading spelt otherwise than it stands", "--fix", True),
        Code("L012", WARNING, "a heading that stands twice in the note", "link to its id"),
        Code("L013", WARNING, "a pipe that splits a link in a table", "--fix", True),
        Code("L014", ERROR, "notes that embed each other in a circle", "break the circle"),
        Code("H001", ERROR, "one block id twice in a note", "rename one"),
        Code("H002", ERROR, "one explicit heading id twice in a note", "rename one"),
        Code("H003", WARNING, "headings of two languages with different ids", "write {#id}"),
        Code("T001", ERROR, "a note without its translation", "write it: ssm-notes new"),
        Code("T002", WARNING, "a section that its translation lacks", "translate the section"),
        Code("T003", WARNING, "a link that its translation lacks", "link in both languages"),
        Code("T004", WARNING, "a section changed after it was translated", "bring it up to date"),
        Code("F001", ERROR, "a file that is not UTF-8", "save it as UTF-8"),
        Code("F002", ERROR, "front matter that is not YAML", "mend the line"),
        Code("F003", ERROR, "front matter of the wrong type or size", "mend the value"),
        Code("F004", ERROR, "a file that cannot be read", "look at its permissions"),
        Code("F005", ERROR, "a note too large to read", "split it"),
        Code("F006", WARNING, "a symbolic link that is not followed", "copy the file"),
        Code("F007", WARNING, "file names that differ only in case or spelling", "rename one"),
        Code("F008", HINT, "an alias that nothing uses", "keep it for readers, or drop it"),
        Code("F009", WARNING, "nesting too deep to read", "flatten it"),
        Code("F010", WARNING, "an alias that two notes claim", "keep it in one"),
        Code("G001", HINT, "a note that nothing links to", "link to it from a related note"),
        Code("G002", HINT, "a note that links to nothing", "name what it relates to"),
        Code("G003", ERROR, "prerequisites in a circle", "drop one"),
        Code("G004", HINT, "a note's name in the text without a link", "--fix", True),
    )
}
