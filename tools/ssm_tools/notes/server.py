"""The language server: what `editing` answers, in the words of the Language Server Protocol."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path
from pygls.workspace import PositionCodec

from ssm_tools.findings import Finding, Severity
from ssm_tools.notes import editing
from ssm_tools.notes.model import Note, NoteId, line_starts
from ssm_tools.notes.redirects import NAME, redirects_text
from ssm_tools.notes.rename import Plan, RenameError, plan_rename
from ssm_tools.notes.session import Session

_SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.HINT: types.DiagnosticSeverity.Hint,
}


class NotesServer(LanguageServer):
    """A language server over one session."""

    def __init__(self, root: Path) -> None:
        super().__init__("ssm-notes", version("ssm-knowledge-base"))
        self.session = Session(root)
        self.real_root = root.resolve()

    @property
    def codec(self) -> PositionCodec:
        """How the client counts characters."""
        return self.workspace.position_codec

    def note(self, uri: str) -> Note | None:
        """The note of a document's address."""
        path = to_fs_path(uri)
        if path is None:
            return None
        try:
            relative = Path(path).resolve().relative_to(self.real_root)
        except ValueError:
            return None
        return self.session.vault.notes.get(NoteId(relative.as_posix()))

    def uri(self, path: Path) -> str:
        """The address of a file of the vault."""
        return "file://" + quote(str(self.real_root / path.relative_to(self.session.root)))

    def offset(self, note: Note, position: types.Position) -> int:
        """The offset in a note of a client's position."""
        line = min(position.line, len(note.line_starts) - 1)
        text = note.line_text(line + 1)
        units = types.Position(0, position.character)
        return (
            note.line_starts[line] + self.codec.position_from_client_units([text], units).character
        )

    def position(self, note: Note, offset: int) -> types.Position:
        """A client's position of an offset in a note."""
        line, column = note.place(offset)
        text = note.line_text(line)
        units = self.codec.position_to_client_units([text], types.Position(0, column - 1))
        return types.Position(line - 1, units.character)

    def range(self, note: Note, start: int, end: int) -> types.Range:
        """A client's range of offsets in a note."""
        return types.Range(self.position(note, start), self.position(note, end))

    def publish(self, note: Note) -> None:
        """Send the findings of a note."""
        found = [self.diagnostic(note, f) for f in self.session.note_findings(note.id)]
        parameters = types.PublishDiagnosticsParams(self.uri(note.path), found)
        self.text_document_publish_diagnostics(parameters)

    def diagnostic(self, note: Note, finding: Finding) -> types.Diagnostic:
        """A finding as the editor shows it."""
        start = note.line_starts[finding.line - 1] + finding.column - 1
        end = start + max(1, finding.end_column - finding.column)
        hint = f" ({finding.hint})" if finding.hint else ""
        return types.Diagnostic(
            self.range(note, start, min(end, len(note.text))),
            finding.message + hint,
            severity=_SEVERITIES[finding.severity],
            code=finding.code,
            source="ssm-notes",
        )

    def planned(
        self, plan: Plan
    ) -> Iterator[types.TextDocumentEdit | types.RenameFile | types.CreateFile]:
        """The edits and moves of a rename, the redirects included, in their order."""
        vault, root = self.session.vault, self.session.root
        for note_id, text in plan.texts.items():
            known = vault.notes[note_id]
            yield self.rewritten(known.path, known.text, text)
        for path, text in plan.files.items():
            old = (root / path).read_bytes().decode("utf-8", "replace")
            yield self.rewritten(root / path, old, text)
        for before, after in plan.moves.items():
            yield types.RenameFile(self.uri(root / before), self.uri(root / after))
        if plan.redirects:
            redirects = root / NAME
            if not redirects.is_file():
                yield types.CreateFile(self.uri(redirects))
            old = redirects.read_text(encoding="utf-8") if redirects.is_file() else ""
            yield self.rewritten(redirects, old, redirects_text(vault, plan))

    def rewritten(self, path: Path, old: str, new: str) -> types.TextDocumentEdit:
        """The edit that makes a file's text another."""
        last = len(line_starts(old))  # past the end is the end
        whole = types.Range(types.Position(0, 0), types.Position(last, 0))
        document = types.OptionalVersionedTextDocumentIdentifier(self.uri(path))
        return types.TextDocumentEdit(document, [types.TextEdit(whole, new)])

    def changed(self, uri: str, text: str | None) -> None:
        """Take over a document's text (None: the file's), and tell what that changes."""
        path = to_fs_path(uri)
        if path is None or not Path(path).resolve().is_relative_to(self.real_root):
            return
        note_id = NoteId(Path(path).resolve().relative_to(self.real_root).as_posix())
        if text is None:
            self.session.overlays.pop(note_id, None)
        else:
            self.session.overlays[note_id] = text
        self.tell({*self.session.refresh(), note_id})

    def tell(self, touched: set[NoteId]) -> None:
        """Send the findings of these notes; of one that is gone, that it has none."""
        for note_id in touched:
            note = self.session.vault.notes.get(note_id)
            if note is not None:
                self.publish(note)
            else:
                uri = self.uri(self.session.root / note_id)
                self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))


def make_server(root: Path) -> NotesServer:
    """Return a server of the vault at `root`, ready for `start_io`."""
    server = NotesServer(root)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(ls: NotesServer, params: types.DidOpenTextDocumentParams) -> None:
        ls.changed(params.text_document.uri, params.text_document.text)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(ls: NotesServer, params: types.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        ls.changed(uri, ls.workspace.get_text_document(uri).source)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(ls: NotesServer, params: types.DidCloseTextDocumentParams) -> None:
        ls.changed(params.text_document.uri, None)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(ls: NotesServer, params: types.DidSaveTextDocumentParams) -> None:
        ls.tell(ls.session.refresh())

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def elsewhere(ls: NotesServer, params: types.DidChangeWatchedFilesParams) -> None:
        ls.tell(ls.session.refresh())

    triggers = types.CompletionOptions(trigger_characters=["[", "#", "^", "@", ":", "/", " "])

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, triggers)
    def complete(
        ls: NotesServer, params: types.CompletionParams
    ) -> list[types.CompletionItem] | None:
        note = ls.note(params.text_document.uri)
        if note is None:
            return None
        choices = editing.completions(ls.session, note, ls.offset(note, params.position))
        return [
            types.CompletionItem(
                choice.label,
                detail=choice.detail,
                filter_text=choice.label,
                text_edit=types.TextEdit(ls.range(note, choice.start, choice.end), choice.text),
            )
            for choice in choices
        ]

    _add_lookups(server)
    _add_changes(server)
    return server


def _add_lookups(server: NotesServer) -> None:
    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def define(ls: NotesServer, params: types.DefinitionParams) -> types.Location | None:
        note = ls.note(params.text_document.uri)
        if note is None:
            return None
        spot = editing.definition(ls.session, note, ls.offset(note, params.position))
        if spot is None:
            return None
        start = types.Position(spot.line - 1, spot.column - 1)
        return types.Location(ls.uri(spot.path), types.Range(start, start))

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(ls: NotesServer, params: types.HoverParams) -> types.Hover | None:
        note = ls.note(params.text_document.uri)
        if note is None:
            return None
        text = editing.hover(ls.session, note, ls.offset(note, params.position))
        return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, text)) if text else None

    @server.feature(types.TEXT_DOCUMENT_REFERENCES)
    def refer(ls: NotesServer, params: types.ReferenceParams) -> list[types.Location] | None:
        note = ls.note(params.text_document.uri)
        if note is None:
            return None
        found = editing.references(ls.session, note, ls.offset(note, params.position))
        return [
            types.Location(ls.uri(source.path), ls.range(source, link.start, link.end))
            for source, link in found
        ]


def _add_changes(server: NotesServer) -> None:
    @server.feature(types.TEXT_DOCUMENT_RENAME)
    def rename(ls: NotesServer, params: types.RenameParams) -> types.WorkspaceEdit | None:
        note = ls.note(params.text_document.uri)
        if note is None:
            return None
        old = editing.renamed(ls.session, note, ls.offset(note, params.position))
        try:
            plan = plan_rename(ls.session.vault, old, params.new_name)
        except RenameError as error:
            ls.window_show_message(types.ShowMessageParams(types.MessageType.Error, str(error)))
            return None
        if plan.left:
            said = "left, since imports and ties name them: " + ", ".join(plan.left)
            ls.window_show_message(types.ShowMessageParams(types.MessageType.Info, said))
        return types.WorkspaceEdit(document_changes=[*ls.planned(plan)])

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION)
    def act(ls: NotesServer, params: types.CodeActionParams) -> list[types.CodeAction] | None:
        uri = params.text_document.uri
        note = ls.note(uri)
        if note is None:
            return None
        start = ls.offset(note, params.range.start)
        end = ls.offset(note, params.range.end)
        return [
            types.CodeAction(
                title,
                kind=types.CodeActionKind.QuickFix,
                edit=types.WorkspaceEdit(
                    changes={uri: [types.TextEdit(ls.range(note, fix.start, fix.end), fix.text)]}
                ),
            )
            for title, fix in editing.quick_fixes(ls.session, note, start, end)
        ]
