"""`python -m ssm_kernels.train CONFIG`: the training command of `ssm_ref` on Triton operators.

Arguments, configs, checkpoints and records are those of `python -m ssm_ref train`; a run begun with
one goes on with the other.
"""

import argparse
import sys
from collections.abc import Sequence

from ssm_kernels.accelerate import accelerate
from ssm_ref.training import command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when it did its work, 2 for what does not fit."""
    parser = argparse.ArgumentParser(prog="python -m ssm_kernels.train")
    command.configure(parser)
    args = parser.parse_args(argv)
    try:
        return command.run(args, prepare=accelerate)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
