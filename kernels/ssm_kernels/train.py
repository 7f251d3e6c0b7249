"""`python -m ssm_kernels.train CONFIG`: the training command of `ssm_ref` on Triton operators.

Arguments, configs, checkpoints and records are those of `python -m ssm_ref train`; a run begun with
one goes on with the other.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from torch import nn

from ssm_kernels.accelerate import accelerate
from ssm_kernels.selective_scan.op import selective_scan
from ssm_kernels.ssd.op import ssd
from ssm_ref.training import command
from ssm_ref.training.sequence_split import split_selective_scan, split_ssd


def accelerate_parts(model: nn.Module) -> nn.Module:
    """`accelerate`, and in a sequence split over ranks each rank walks its part by our scan."""
    inner = {split_selective_scan: selective_scan, split_ssd: ssd}
    accelerate(model)
    for module in model.modules():
        scan = getattr(module, "scan", None)
        if isinstance(scan, partial) and scan.func in inner:
            module.scan = partial(scan, scan=inner[scan.func])  # type: ignore[assignment]
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when it did its work, 2 for what does not fit."""
    parser = argparse.ArgumentParser(prog="python -m ssm_kernels.train")
    command.configure(parser)
    args = parser.parse_args(argv)
    try:
        return command.run(args, prepare=accelerate_parts)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
