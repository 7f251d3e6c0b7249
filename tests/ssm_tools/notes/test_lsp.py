"""The language server, asked as an editor asks it: over pipes, by the protocol."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from lsprotocol import types
from pygls.lsp.client import LanguageClient

FILES = {
    "a.md": "# A\n\n😀 see [[b]], [[b#Part|x]], [[mmaba]] and [[@gu2023mamba]] [[claim:b/one]]\n",
    "b.md": "---\ntitle: The B\nconcept: b\n---\n# B\n\nAbout **B**.\n\n## Part\n\nof it ^blk\n",
    "x/mamba.md": "---\naliases: [S6]\n---\n[[a]]\n",
    "papers.yml": "lee2020x:\n  title: X\ngu2023mamba:\n  title: Mamba\n",
    "concepts/b.yml": "family: x\nclaims:\n  - id: one\n    en: x\n",
    "snippets/b/first.py": "# %% shown\n",
}
LINE = 2


def ask(root: Path, question: Callable[[LanguageClient, str], Awaitable[None]]) -> None:
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")

    async def run() -> None:
        client = LanguageClient("test", "1")
        client.diagnostics = {}

        @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: types.PublishDiagnosticsParams) -> None:
            client.diagnostics[params.uri] = params.diagnostics

        command = [sys.executable, "-m", "ssm_tools.cli", "lsp", "--vault", str(root)]
        await client.start_io(*command)
        capabilities = types.ClientCapabilities()
        started = types.InitializeParams(capabilities=capabilities, root_uri=root.as_uri())
        await client.initialize_async(started)
        client.initialized(types.InitializedParams())
        uri = (root / "a.md").as_uri()
        opened = types.TextDocumentItem(uri, "markdown", 1, FILES["a.md"])
        client.text_document_did_open(types.DidOpenTextDocumentParams(opened))
        await question(client, uri)
        await client.shutdown_async(None)
        client.exit(None)
        await client.stop()

    asyncio.run(asyncio.wait_for(run(), 60))


def at(uri: str, text: str, inside: int = 3) -> dict[str, object]:
    """The position inside a piece of line 3, in UTF-16 units (the emoji counts two)."""
    character = FILES["a.md"].splitlines()[LINE].index(text) + 1 + inside
    return {
        "text_document": types.TextDocumentIdentifier(uri),
        "position": types.Position(LINE, character),
    }


def test_lookups(tmp_path: Path) -> None:
    async def question(client: LanguageClient, uri: str) -> None:
        definition = client.text_document_definition_async
        place = await definition(types.DefinitionParams(**at(uri, "[[b]]")))
        assert place.uri == (tmp_path / "b.md").as_uri()
        assert place.range.start.line == 0
        place = await definition(types.DefinitionParams(**at(uri, "[[b#Part")))
        assert place.range.start.line == 8
        place = await definition(types.DefinitionParams(**at(uri, "[[@gu")))
        assert (place.uri, place.range.start.line) == ((tmp_path / "papers.yml").as_uri(), 2)
        place = await definition(types.DefinitionParams(**at(uri, "[[claim")))
        assert (place.uri[-13:], place.range.start.line) == ("concepts/b.yml"[-13:], 2)
        hover = await client.text_document_hover_async(types.HoverParams(**at(uri, "[[b]]")))
        assert hover.contents.value == "**The B** — `b.md`\n\nAbout B."
        context = types.ReferenceContext(include_declaration=False)
        asked = types.ReferenceParams(context=context, **at(uri, "[[b#Part"))
        found = await client.text_document_references_async(asked)
        assert [(one.uri, one.range.start.character) for one in found] == [(uri, 14)]

        hovered = [
            ("[[@gu", "gu2023mamba", "title: Mamba"),
            ("[[claim", "one", "- id: one"),
            ("[[b#Part", "The B", "of it"),
        ]
        for text, name, excerpt in hovered:
            hover = await client.text_document_hover_async(types.HoverParams(**at(uri, text)))
            assert hover.contents.value.startswith(f"**{name}**")
            assert excerpt in hover.contents.value

    ask(tmp_path, question)


def test_concepts_snippets_and_blocks(tmp_path: Path) -> None:
    text = "---\nconcept: b\nup: '[[b#^blk]]'\n---\n\n```snippet b/first\n```\n"

    async def question(client: LanguageClient, uri: str) -> None:
        version = types.VersionedTextDocumentIdentifier(uri=uri, version=2)
        whole = types.TextDocumentContentChangeWholeDocument(text)
        client.text_document_did_change(types.DidChangeTextDocumentParams(version, [whole]))
        document = types.TextDocumentIdentifier(uri)

        async def defined(line: int, column: int) -> tuple[str, int]:
            where = types.DefinitionParams(document, types.Position(line, column))
            place = await client.text_document_definition_async(where)
            return place.uri.removeprefix(tmp_path.as_uri() + "/"), place.range.start.line

        assert await defined(1, 10) == ("concepts/b.yml", 0)
        assert await defined(5, 14) == ("snippets/b/first.py", 0)
        assert await defined(2, 8) == ("b.md", 10)
        where = types.HoverParams(document, types.Position(5, 14))
        hover = await client.text_document_hover_async(where)
        assert hover.contents.value == "**b/first**\n\n```python\n# %% shown\n```"
        context = types.ReferenceContext(include_declaration=False)
        block = types.TextDocumentIdentifier((tmp_path / "b.md").as_uri())
        asked = types.ReferenceParams(context, block, types.Position(10, 8))
        found = await client.text_document_references_async(asked)
        assert [(one.uri, one.range.start.line) for one in found] == [(uri, 2)]

    ask(tmp_path, question)


def test_a_change_by_another_program_is_told(tmp_path: Path) -> None:
    async def question(client: LanguageClient, uri: str) -> None:
        await client.text_document_hover_async(types.HoverParams(**at(uri, "[[b]]")))
        assert len(client.diagnostics[uri]) == 1
        (tmp_path / "mmaba.md").write_text("[[gone]]")
        new = types.FileEvent((tmp_path / "mmaba.md").as_uri(), types.FileChangeType.Created)
        client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([new]))
        await client.text_document_hover_async(types.HoverParams(**at(uri, "[[b]]")))
        assert not client.diagnostics[uri]
        assert [d.code for d in client.diagnostics[new.uri]] == ["L001"]

    ask(tmp_path, question)


def test_diagnostics_and_quick_fixes(tmp_path: Path) -> None:
    async def question(client: LanguageClient, uri: str) -> None:
        where = at(uri, "[[mmaba]]")
        span = types.Range(where["position"], where["position"])
        context = types.CodeActionContext(diagnostics=[])
        document = types.TextDocumentIdentifier(uri)
        asked = types.CodeActionParams(document, span, context)
        (action,) = await client.text_document_code_action_async(asked)
        assert action.title == "Write mamba"
        ((edit,),) = action.edit.changes.values()
        assert (edit.new_text, edit.range.start.character) == ("mamba", 30)
        (found,) = client.diagnostics[uri]
        assert (found.code, found.range.start.character) == ("L001", 28)
        version = types.VersionedTextDocumentIdentifier(uri=uri, version=2)
        whole = types.TextDocumentContentChangeWholeDocument("[[mamba]]")
        changed = types.DidChangeTextDocumentParams(version, [whole])
        client.text_document_did_change(changed)
        await client.text_document_hover_async(types.HoverParams(**at(uri, "[[b]]")))
        assert not client.diagnostics[uri]

    ask(tmp_path, question)


def test_completion_and_rename(tmp_path: Path) -> None:
    async def question(client: LanguageClient, uri: str) -> None:
        async def complete(text: str) -> list[str]:
            version = types.VersionedTextDocumentIdentifier(uri=uri, version=2)
            whole = types.TextDocumentContentChangeWholeDocument(text)
            client.text_document_did_change(types.DidChangeTextDocumentParams(version, [whole]))
            lines = text.split("\n")
            position = types.Position(len(lines) - 1, len(lines[-1]))
            document = types.TextDocumentIdentifier(uri)
            items = await client.text_document_completion_async(
                types.CompletionParams(document, position)
            )
            return [item.text_edit.new_text for item in items]

        assert await complete("[[m") == ["a", "b", "mamba", "mamba|S6"]
        assert await complete("[[b#") == ["B", "Part"]
        assert await complete("[[b#^") == ["^blk"]
        assert await complete("[[@") == ["lee2020x", "gu2023mamba"]
        assert await complete("[[claim:") == ["b/one"]
        assert await complete("```snippet b") == ["b/first"]
        assert await complete("no link") == []
        client.text_document_did_close(
            types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri))
        )
        asked = types.RenameParams(new_name="c", **at(uri, "[[b]]"))
        edit = await client.text_document_rename_async(asked)
        changes = edit.document_changes
        texts = {x.text_document.uri: x.edits[0].new_text for x in changes if hasattr(x, "edits")}
        renamed = [x for x in changes if isinstance(x, types.RenameFile)]
        moves = {Path(x.old_uri).name: Path(x.new_uri).name for x in renamed}
        assert "[[c]], [[c#Part|x]]" in texts[uri]
        assert "[[claim:c/one]]" in texts[uri]
        assert "\nconcept: c\n" in texts[(tmp_path / "b.md").as_uri()]
        assert moves == {"b.md": "c.md", "b.yml": "c.yml", "first.py": "first.py"}
        assert texts[(tmp_path / "redirects.yml").as_uri()] == "b.md: c.md\n"
        asked = types.RenameParams(new_name="New part", **at(uri, "[[b#Part"))
        edit = await client.text_document_rename_async(asked)
        texts = {x.text_document.uri: x.edits[0].new_text for x in edit.document_changes[:2]}
        assert "## New part\n" in texts[(tmp_path / "b.md").as_uri()]
        assert "[[b#New part|x]]" in texts[uri]

    ask(tmp_path, question)
