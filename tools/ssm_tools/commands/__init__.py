"""One module for each `ssm-notes` command: `HELP`, `configure(parser)`, `run(args) -> int`."""
