"""`ssm-notes graph`: the notes and links as JSON, GraphML, DOT or Mermaid."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "print the graph of notes and links"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--vault", type=Path, default=Path("docs"), metavar="DIR")
    parser.add_argument(
        "--languages", metavar="A,B", help="the folders that hold one language each"
    )
    parser.add_argument("--format", choices=("json", "graphml", "dot", "mermaid"), default="json")
    parser.add_argument("--language", help="only the notes of this language and what they link to")


def run(args: argparse.Namespace) -> int:
    """Print the graph."""
    from ssm_tools.notes.graph import build_graph
    from ssm_tools.notes.graph_formats import add_sentences, render_graph
    from ssm_tools.notes.vault import load_vault

    try:
        vault = load_vault(args.vault, tuple(args.languages.split(",")) if args.languages else None)
    except NotADirectoryError as error:
        print(f"ssm-notes: {error}", file=sys.stderr)
        return 2
    graph = build_graph(vault)
    if args.format == "json":
        add_sentences(graph, vault)
    if args.language:
        kept = [n for n, data in graph.nodes(data=True) if data["language"] in (args.language, "")]
        graph = graph.subgraph(kept)
    sys.stdout.write(render_graph(graph, args.format))
    return 0
