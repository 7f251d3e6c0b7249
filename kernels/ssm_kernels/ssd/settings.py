"""How the kernels of ssd are compiled and shared out, as measured on an H200 in November 2026."""

import triton

from ssm_kernels.ssd.plan import Plan

FWD = {"num_warps": 4, "STAGES": 2, "ASK": True}
WALK = {"num_warps": 8, "STAGES": 3, "maxnreg": 128}
# slices of a program at most, and programs that fill the chip
FWD_SLICES, STATE_SLICES, DX_SLICES, SCORES_SLICES, PROGRAMS = 40, 40, 20, 40, 512
GROUP = {"num_warps": 4, "num_stages": 2}
GROUP_SIZES = ("G", "N", "T", "BLOCK_N", "PACKED", "PRECISION")
STATE = {"num_warps": 8, "STAGES": 2, "maxnreg": 128}
DX = {"num_warps": 4, "STAGES": 2, "ASK": True}
SCORES = {"num_warps": 4, "STAGES": 3, "maxnreg": 168}


def fitting(config: dict[str, int], plan: Plan) -> dict[str, int]:
    """The settings, measured on large tiles, or for small ones those that fit any size."""
    if not plan.wide:
        config = {"num_warps": 4, "STAGES": 1} | {k: False for k in config if k == "ASK"}
    if triton.knobs.runtime.interpret:
        config = config | {k: False for k in config if k == "ASK"}
    return config


def parts(plan: Plan, most: int) -> int:
    """Programs that share one chunk: groups, times those that share the slices of a group."""
    return plan.g * plan.parts(PROGRAMS, most)
