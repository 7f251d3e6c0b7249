"""Run what is not fresh, keep what succeeds, and say at which line the rest failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssm_tools.findings import Finding
from ssm_tools.run.client import Client, Reply
from ssm_tools.run.declared import declared, declared_for_gpu
from ssm_tools.run.environment import environment_key
from ssm_tools.run.expected import Expectation, expectations, rewrite
from ssm_tools.run.labels import FILE
from ssm_tools.run.results import Output, Result
from ssm_tools.run.snippets import Snippet
from ssm_tools.run.store import Fresh, Store

AROUND = 3


class NoSuchSnippetError(LookupError):
    """A name that is neither a snippet nor a page."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one snippet stands: its result, or the finding that says why there is none."""

    snippet: Snippet
    result: Result | None = None
    findings: tuple[Finding, ...] = ()
    excerpt: str = ""
    cached: bool = False
    wrong: tuple[Expectation, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run: whether stored results count, and how many processes at a time."""

    cache: bool = True
    jobs: int = 0
    device: str = "cpu"

    def processes(self) -> int:
        """Return the number of children at a time: as many as processors, unless told."""
        return self.jobs or os.cpu_count() or 1


def run_snippets(
    root: Path,
    names: Sequence[str] = (),
    settings: Settings | None = None,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run the snippets of a project that are not fresh; return all outcomes in declared order.

    `names` are ids (`mamba/block`) or pages (`mamba`), all when empty; `report` is called with
    each outcome as it comes.

    Raises:
        NoSuchSnippetError: a name is neither a snippet nor a page.
    """
    settings = settings or Settings()
    if settings.device == "cuda":
        return _run_on_gpu(root, select(declared_for_gpu(root), names), report)
    snippets = select(declared(root), names)
    with Client(root, settings.processes(), settings.device) as client:
        outcomes = {}
        for outcome in run_with(client, snippets, Store(root), cache=settings.cache):
            outcomes[outcome.snippet.id] = outcome
            report(outcome)
    return [outcomes[snippet.id] for snippet in snippets if snippet.id in outcomes]


def _run_on_gpu(
    root: Path, snippets: Sequence[Snippet], report: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run the snippets made for a GPU, one at a time and past the store: a CPU's results stay."""
    store = Store(root)
    found = [Outcome(one, findings=one.problems) for one in snippets if one.problems]
    for outcome in found:
        report(outcome)
    with Client(root, 1, "cuda") as client:
        for snippet, reply in client.run([one for one in snippets if not one.problems]):
            found.append(judge_on_gpu(root, snippet, reply, store))
            report(found[-1])
    return found


def judge_on_gpu(root: Path, snippet: Snippet, reply: Reply, store: Store) -> Outcome:
    """Turn the reply of a run on a GPU into an outcome; one that left the GPU alone is none."""
    outcome = judge(root, snippet, reply, store)
    if outcome.result is not None and not reply["on_gpu"]:
        return failed(root, snippet, "S018", "it did not use the GPU", snippet.line)
    return outcome


def select(snippets: Sequence[Snippet], names: Sequence[str]) -> list[Snippet]:
    """Return the snippets that the names mean, in their order.

    Raises:
        NoSuchSnippetError: a name is neither a snippet nor a page.
    """
    known = {snippet.id for snippet in snippets} | {snippet.page for snippet in snippets}
    for name in names:
        if name not in known:
            raise NoSuchSnippetError(f"no snippet or page is called {name!r}")
    return [one for one in snippets if not names or one.id in names or one.page in names]


def run_with(
    client: Client, snippets: Iterable[Snippet], store: Store, *, cache: bool = True
) -> Iterator[Outcome]:
    """Run snippets on a server that is there already, and yield outcomes as they come."""
    waiting: list[Snippet] = []
    for snippet in snippets:
        if snippet.problems:
            yield Outcome(snippet, findings=snippet.problems)
            continue
        found = store.lookup(snippet) if cache else None
        if isinstance(found, Fresh):
            yield Outcome(snippet, found.result, cached=True)
        else:
            waiting.append(snippet)
    drew: dict[str, Outcome] = {}
    for snippet, reply in client.run(waiting):
        outcome = judge(client.root, snippet, reply, store)
        if outcome.result is not None and _figures(outcome.result):
            drew[snippet.id] = outcome
            continue
        _keep(store, outcome)
        yield outcome
    # What draws is run twice: a figure that differs would change the page with every build.
    for snippet, reply in client.run([outcome.snippet for outcome in drew.values()]):
        outcome = _same_figures(client.root, drew[snippet.id], reply)
        _keep(store, outcome)
        yield outcome


def _keep(store: Store, outcome: Outcome) -> None:
    """Keep a result; a failure leaves none that could be shown in its place."""
    if outcome.result is not None:
        store.write(outcome.snippet, outcome.result)
    else:
        store.forget(outcome.snippet)


def judge(root: Path, snippet: Snippet, reply: Reply, store: Store) -> Outcome:
    """Turn the server's reply into an outcome."""
    problem = reply.get("problem")
    if problem is not None:
        return failed(root, snippet, problem["code"], problem["message"], problem["line"])
    spoken = [(line, text) for line, text in reply["spoken"]]
    wrong = tuple(item for item in expectations(snippet, spoken) if not item.holds)
    if wrong:
        message = "the output is not the expected one:\n" + wrong[0].diff()
        return replace(failed(root, snippet, "S009", message, wrong[0].line), wrong=wrong)
    result = Result(
        snippet=snippet.id,
        outputs=tuple(Output(**output) for output in join_text(reply["outputs"])),
        seconds=reply["seconds"],
        dependencies=store.hashes(
            path for path in reply["dependencies"] if path != str(root / snippet.path)
        ),
        environment=environment_key(),
    )
    for output in result.outputs:
        for label, said in output.labels.items():
            if missing := [language for language, there in said.items() if not there]:
                message = f"{FILE.as_posix()} does not say {label!r} in {', '.join(missing)}"
                return failed(root, snippet, "S020", message, output.line)
        if output.cut:
            message = f"there is no room in the figure for {output.cut!r}"
            return failed(root, snippet, "S022", message, output.line)
    return Outcome(snippet, result)


def failed(root: Path, snippet: Snippet, code: str, message: str, line: int) -> Outcome:
    """Return the outcome of a failed snippet, with the lines around the one that failed."""
    line = line or snippet.line
    finding = Finding(snippet.path, line, 1, code, f"snippet {snippet.id}: {message}")
    text = (root / snippet.path).read_text(encoding="utf-8", errors="replace")
    return Outcome(snippet, findings=(finding,), excerpt=excerpt(text, line))


def excerpt(text: str, line: int) -> str:
    """Return the lines around a line, numbered, with a mark at the line itself."""
    lines = text.split("\n")
    first, last = max(1, line - AROUND), min(len(lines), line + AROUND)
    return "\n".join(
        f"{'>' if number == line else ' '} {number:4} | {lines[number - 1]}".rstrip()
        for number in range(first, last + 1)
    )


def join_text(outputs: Sequence[Reply]) -> list[Reply]:
    """Join text outputs of one cell and one stream that follow each other."""
    joined: list[Reply] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        same = all(last.get(key) == output.get(key) for key in ("kind", "name", "cell"))
        if same and output["kind"] == "text":
            joined[-1] = last | {"data": last["data"] + output["data"]}
        else:
            joined.append(output)
    return joined


def update_expectations(root: Path, outcomes: Iterable[Outcome]) -> dict[str, list[Expectation]]:
    """Rewrite the `#>` lines that do not hold; return what was rewritten, by path."""
    rewritten: dict[str, list[Expectation]] = {}
    for outcome in outcomes:
        if outcome.wrong:
            rewritten.setdefault(outcome.snippet.path, []).extend(outcome.wrong)
    for name, wrong in rewritten.items():
        path = root / name
        path.write_text(rewrite(path.read_text(encoding="utf-8"), wrong), encoding="utf-8")
    return rewritten


def _figures(result: Result) -> list[Output]:
    return [output for output in result.outputs if output.kind == "svg"]


def _same_figures(root: Path, first: Outcome, reply: Reply) -> Outcome:
    problem = reply.get("problem")
    if problem is not None:
        return failed(root, first.snippet, problem["code"], problem["message"], problem["line"])
    assert first.result is not None
    again = [output["data"] for output in reply["outputs"] if output["kind"] == "svg"]
    figures = _figures(first.result)
    for number, figure in enumerate(figures):
        if number >= len(again) or again[number] != figure.data:
            message = "the figure differs from run to run"
            return failed(root, first.snippet, "S013", message, figure.line)
    return first
