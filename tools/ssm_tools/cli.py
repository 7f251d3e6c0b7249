"""The command line of the knowledge base: `ssm-notes COMMAND`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

COMMANDS: tuple[str, ...] = (
    *("build", "check", "graph", "lsp", "new", "rename", "run", "serve", "stage", "stats", "sync"),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with one subparser for each module of `ssm_tools.commands`."""
    parser = argparse.ArgumentParser(
        prog="ssm-notes",
        description="Check, run, stage and build a vault of linked notes.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"ssm_tools.commands.{name}")
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.configure(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; return 0 when clean, 1 with findings, 2 for misuse."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "ssm_tools":
            raise
        print(
            f"ssm-notes: the documentation tools are not installed ({error.name} is missing): "
            "pip install 'ssm-knowledge-base[docs]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("ssm-notes: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
