"""YAML as nodes with places: reads typed values and keeps a finding for each that does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import yaml

from ssm_tools.concepts.model import Tie
from ssm_tools.findings import Finding

Node = yaml.Node | None


@dataclass
class Reader:
    """Reads one file's nodes; what does not fit is a finding and reads as nothing."""

    path: str
    findings: list[Finding] = field(default_factory=list)

    def find(self, node: Node, code: str, message: str, hint: str = "") -> None:
        """Keep a finding at a node."""
        line, column = place(node)
        self.findings.append(Finding(self.path, line, column, code, message, hint))

    def compose(self, data: bytes) -> Node:
        """Parse a file's bytes; a file that is not YAML or not UTF-8 is a finding."""
        try:
            return yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self.findings.append(Finding(self.path, line, 1, "C001", "the file is not UTF-8"))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            message = f"not YAML: {error.problem or error.context}"
            self.findings.append(Finding(self.path, line, column, "C001", message))
        except yaml.YAMLError as error:
            self.findings.append(Finding(self.path, 1, 1, "C001", f"not YAML: {error}"))
        return None

    def fields(self, node: Node, known: Sequence[str], what: str) -> dict[str, yaml.Node]:
        """Return a mapping's values by key; unknown and repeated keys are findings."""
        if not isinstance(node, yaml.MappingNode):
            self.find(node, "C003", f"{what} must be a mapping; got {name_of(node)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(getattr(key, "value", ""))
            if name not in known:
                self.find(key, "C002", f"{what} has no key {name!r}", f"keys: {', '.join(known)}")
            elif name in found:
                self.find(key, "C004", f"the key {name!r} stands twice")
            else:
                found[name] = value
        return found

    def text(self, node: Node, what: str) -> Tie | None:
        """Return a string with its place, or nothing."""
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str":
            line, column = place(node)
            return Tie(node.value.strip(), line, column)
        self.find(node, "C003", f"{what} must be text; got {name_of(node)}")
        return None

    def number(self, node: Node, what: str) -> int | None:
        """Return a whole number, or nothing."""
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:int":
            return int(node.value)
        self.find(node, "C003", f"{what} must be a whole number; got {name_of(node)}")
        return None

    def items(self, node: Node, what: str) -> Iterator[yaml.Node]:
        """Yield a list's nodes; nothing for a key that is not there."""
        if isinstance(node, yaml.SequenceNode):
            yield from node.value
        elif node is not None:
            self.find(node, "C003", f"{what} must be a list; got {name_of(node)}")

    def texts(self, node: Node, what: str) -> tuple[Tie, ...]:
        """Return a list of distinct strings with their places."""
        found: list[Tie] = []
        for item in self.items(node, what):
            text = self.text(item, f"an entry of {what}")
            if text is not None and text in found:
                self.find(item, "C004", f"{what} names {text!r} twice")
            elif text is not None:
                found.append(text)
        return tuple(found)


def place(node: Node) -> tuple[int, int]:
    """Return a node's line and column, from 1."""
    if node is None or node.start_mark is None:
        return 1, 1
    return node.start_mark.line + 1, node.start_mark.column + 1


def name_of(node: Node) -> str:
    """Return what a node is, in words."""
    match node:
        case None:
            return "nothing"
        case yaml.MappingNode():
            return "a mapping"
        case yaml.SequenceNode():
            return "a list"
        case yaml.ScalarNode(tag="tag:yaml.org,2002:null"):
            return "nothing"
        case _:
            return repr(node.value)
