"""Checks that need several ranks: run as a script, it forks them and prints what each check found.

    python ranks_worker.py SIZE FOLDER

Only the children compute: forking after torch has started threads would hang.
"""

import contextlib
import io
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # the optimiser asks for it, and one import before the fork serves all
import torch.distributed as dist
from torch import Tensor

from ssm_ref.__main__ import main
from ssm_ref.foundations.scan import linear_scan
from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.selective.causal_conv1d import causal_conv1d
from ssm_ref.selective.mamba import Mamba, MambaConfig, MambaLanguageModel
from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config, Mamba2LanguageModel
from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.selective.ssd import ssd
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.sequence_split import (
    bytes_sent,
    mamba2_operators,
    mamba_operators,
    split_causal_conv1d,
    split_linear_scan,
    split_selective_scan,
    split_ssd,
)

L = 16
SHELL = LanguageModelConfig(vocab_size=11, d_model=8, n_layers=2)
BLOCKS: dict[str, tuple[Any, Any, Any, Any]] = {
    "mamba": (MambaLanguageModel, Mamba, MambaConfig(d_model=8, d_state=4), mamba_operators),
    "mamba2": (
        Mamba2LanguageModel,
        Mamba2,
        Mamba2Config(d_model=8, d_state=4, d_head=4, n_groups=2),
        mamba2_operators,
    ),
}
CONFIG = """
steps = 3
batch_size = 4
log_every = 1
validation_batches = 2
split = "{split}"
[data]
name = "selective_copying"
length = 14
items = 2
vocab = 6
[model]
name = "mamba"
d_model = 8
n_layers = 1
"""


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def agree(
    whole: Callable[..., Tensor], part: Callable[..., Tensor], along: list[Tensor], shared: Any
) -> None:
    """Hold a rank's output and its part of every gradient to those of one process."""
    rank, size = dist.get_rank(), dist.get_world_size()
    want = whole(*along, *shared)
    weights = torch.randn_like(want)
    want_grads = torch.autograd.grad((want * weights).sum(), [*along, *shared])
    parts = [t.detach().tensor_split(size, dim=1)[rank].requires_grad_() for t in along]
    got = part(*parts, *shared)
    torch.testing.assert_close(got, want.tensor_split(size, dim=1)[rank])
    mine = weights.tensor_split(size, dim=1)[rank]
    grads = list(torch.autograd.grad((got * mine).sum(), [*parts, *shared]))
    for a, b in zip(grads, want_grads[: len(along)], strict=False):
        torch.testing.assert_close(a, b.tensor_split(size, dim=1)[rank])
    for a, b in zip(grads[len(along) :], want_grads[len(along) :], strict=True):
        dist.all_reduce(a)
        torch.testing.assert_close(a, b)


def linear_recurrence(folder: Path) -> None:
    ranks = Ranks.of_world()
    a, u = draw(2, L, 3), draw(2, L, 3)
    agree(linear_scan, lambda a, u: split_linear_scan(a, u, ranks), [a, u], [])


def convolution(folder: Path) -> None:
    ranks, x = Ranks.of_world(), draw(2, L, 3)
    agree(
        lambda x, w, b: causal_conv1d(x, w, b, activation="silu")[0],
        lambda x, w, b: split_causal_conv1d(x, w, b, activation="silu", ranks=ranks)[0],
        [x],
        [draw(3, 4), draw(3)],
    )


def selective(folder: Path) -> None:
    ranks = Ranks.of_world()
    along = [draw(2, L, 4), draw(2, L, 4), draw(2, L, 3), draw(2, L, 3), draw(2, L, 4)]

    def scan(f: Any) -> Callable[..., Tensor]:
        def run(x: Tensor, dt: Tensor, B: Tensor, C: Tensor, z: Tensor, *shared: Tensor) -> Tensor:
            A, D, bias = shared
            y: Tensor = f(x, dt, -A.exp(), B, C, D=D, z=z, dt_bias=bias, dt_softplus=True)[0]
            return y

        return run

    split = scan(lambda *a, **k: split_selective_scan(*a, ranks=ranks, **k))
    agree(scan(selective_scan), split, along, [draw(4, 3), draw(4), draw(4)])


def duality(folder: Path) -> None:
    ranks = Ranks.of_world()
    along = [draw(2, L, 4, 3), draw(2, L, 4), draw(2, L, 2, 5), draw(2, L, 2, 5)]

    def scan(f: Any) -> Callable[..., Tensor]:
        def run(x: Tensor, dt: Tensor, B: Tensor, C: Tensor, *shared: Tensor) -> Tensor:
            A, D, bias = shared
            limit = (1e-2, 1.5)
            options = {"D": D, "dt_bias": bias, "dt_softplus": True, "dt_limit": limit}
            y: Tensor = f(x, dt, -A.exp(), B, C, **options)[0]
            return y

        return run

    split = scan(lambda *a, **k: split_ssd(*a, ranks=ranks, **k))
    agree(scan(ssd), split, along, [draw(4), draw(4), draw(4)])


def model(folder: Path) -> None:
    ranks = Ranks.of_world()
    for make, _, block, operators in BLOCKS.values():
        torch.manual_seed(1)
        whole = make(SHELL, block).double()
        split = make(SHELL, block, **operators(ranks)).double()
        split.load_state_dict(whole.state_dict())
        ids = torch.randint(SHELL.vocab_size, (2, L))
        want = whole(ids)
        want.logsumexp(dim=-1).sum().backward()
        got = split(ids.tensor_split(ranks.size, dim=1)[ranks.rank])
        got.logsumexp(dim=-1).sum().backward()
        torch.testing.assert_close(got, want.tensor_split(ranks.size, dim=1)[ranks.rank])
        for a, b in zip(split.parameters(), whole.parameters(), strict=True):
            dist.all_reduce(a.grad)
            torch.testing.assert_close(a.grad, b.grad)


def traffic(folder: Path) -> None:
    for name, (_, layer, block, operators) in BLOCKS.items():
        ranks = Ranks.of_world()
        u = torch.randn(3, L // ranks.size, 8)
        u.requires_grad_()
        out = layer(block, **operators(ranks))(u)
        if name == "mamba":
            d, n, k = block.d_inner, block.d_state, block.d_conv
            state, decay, halo = 3 * d * n, 3 * d * n, 3 * (k - 1) * d
        else:
            h, p, n = block.n_heads, block.d_head, block.d_state
            state, decay, halo = 3 * h * p * n, 3 * h, 3 * (block.d_conv - 1) * block.d_xBC
        want = bytes_sent(ranks, halo=4 * halo, state=4 * state, decay=4 * decay)
        assert ranks.traffic.sent["forward"] == want, (name, ranks.traffic.sent, want)
        out.sum().backward()
        totals = torch.tensor([ranks.traffic.sent[way] for way in ("forward", "backward")])
        dist.all_reduce(totals)
        assert totals[0] == totals[1] > 0, totals


def short_parts(folder: Path) -> None:
    ranks = Ranks.of_world()
    with pytest.raises(ValueError, match="at least the 3 inputs"):
        split_causal_conv1d(draw(1, 2, 3), draw(3, 4), ranks=ranks)


def training(folder: Path) -> None:
    """The command itself, with rows and then time shared out."""
    rank = os.environ["RANK"] = str(dist.get_rank())
    for split in ("data", "sequence"):
        run = folder / split
        with contextlib.redirect_stderr(io.StringIO()) as said:
            code = main(["train", str(run / "run.toml"), "--out", str(run / "out")])
        assert code == 0, said.getvalue()
        assert (rank == "0") == bool(said.getvalue()), split


CHECKS = (
    linear_recurrence,
    convolution,
    selective,
    duality,
    model,
    traffic,
    short_parts,
    training,
)


def child(rank: int, size: int, folder: Path) -> None:
    """Run the checks of one rank and write what failed."""
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
    found: dict[str, str] = {}
    for check in CHECKS:
        torch.manual_seed(0)
        try:
            check(folder)
        except BaseException:  # noqa: BLE001 (what failed goes to the test that asked)
            found[check.__name__] = traceback.format_exc()
            break  # the ranks are no longer in step
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    size, folder = int(sys.argv[1]), Path(sys.argv[2])
    for split in ("data", "sequence"):
        (folder / split).mkdir()
        (folder / split / "run.toml").write_text(CONFIG.format(split=split))
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(r, size, folder)) for r in range(size)]
    for process in children:
        process.start()
    for process in children:
        process.join()
