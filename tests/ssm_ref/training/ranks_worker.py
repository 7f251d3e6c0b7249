"""Checks that need several ranks: run as a script, it forks them and prints what each check found.

    python ranks_worker.py SIZE FOLDER [BACKEND]

Over gloo (the default) they compute on the CPU, over nccl each on a GPU of its own. Only the
children compute: forking after torch has started threads, or a GPU, would hang.
"""

import contextlib
import io
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # the optimiser asks for it, and one import before the fork serves all
import torch.distributed as dist
import torch.distributed.fsdp
import torch.distributed.tensor
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssm_ref.__main__ import main
from ssm_ref.foundations.scan import linear_scan
from ssm_ref.language_model import LanguageModelConfig
from ssm_ref.selective.causal_conv1d import causal_conv1d
from ssm_ref.selective.mamba import Mamba, MambaConfig, MambaLanguageModel
from ssm_ref.selective.mamba2 import Mamba2, Mamba2Config, Mamba2LanguageModel
from ssm_ref.selective.selective_scan import selective_scan
from ssm_ref.selective.ssd import ssd
from ssm_ref.training import sharding
from ssm_ref.training.config import load_config
from ssm_ref.training.execution import Ahead, Execution
from ssm_ref.training.loop import Trainer
from ssm_ref.training.metrics import Progress
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.saving import newest_checkpoint
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
steps = 6
batch_size = 4
log_every = 1
validation_batches = 2
precision = "float32"
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


class Counted(TorchDispatchMode):
    """Bytes of every buffer that is handed to torch.distributed, by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            name = func.name().split("::")[1].strip("_")
            buffers = [t for t in tree_leaves(args[0]) if isinstance(t, Tensor)]
            size = sum(t.numel() * t.element_size() for t in buffers)
            self.bytes[name] = self.bytes.get(name, 0) + size
        return func(*args, **(kwargs or {}))


def bytes_of_a_step(folder: Path) -> None:
    """What really passes through torch.distributed, against Eqs. (3) and (6)."""
    ranks, size = Ranks.of_world(), dist.get_world_size()
    ids = torch.randint(SHELL.vocab_size, (size, L))

    def model() -> MambaLanguageModel:
        return MambaLanguageModel(SHELL, MambaConfig(d_model=8, d_state=4, dt_rank=4))

    shared = model()
    layers = sum(p.numel() for layer in shared.layers for p in layer.parameters())
    rest = sum(p.numel() for p in shared.parameters()) - layers
    assert all(p.shape[0] % size == 0 for p in shared.parameters())  # no padding
    sharding.shard(shared, torch.get_default_device())
    with Counted() as counted:
        shared(ids).logsumexp(dim=-1).sum().backward()
    # An all-gather hands over the whole, a reduce-scatter its part of it.
    whole = counted.bytes["allgather_base"] + size * counted.bytes["reduce_scatter_base"]
    assert whole * (size - 1) // size == sharding.bytes_sent(layers, rest, size), counted.bytes
    assert counted.bytes.keys() == {"allgather_base", "reduce_scatter_base"}

    block = MambaConfig(d_model=8, d_state=4)
    split = MambaLanguageModel(SHELL, block, **mamba_operators(ranks))
    with Counted() as counted:
        split(ids.tensor_split(size, dim=1)[ranks.rank]).logsumexp(dim=-1).sum().backward()
    state, halo = size * block.d_inner * block.d_state, size * (block.d_conv - 1) * block.d_inner
    forward = SHELL.n_layers * bytes_sent(ranks, halo=4 * halo, state=4 * state, decay=4 * state)
    sent = torch.tensor([counted.bytes.get("send", 0), 2 * forward])
    dist.all_reduce(sent)  # backward travels the other way: the ranks are compared together
    assert sent[0] == sent[1] > 0, sent
    assert counted.bytes.keys() <= {"send", "recv"}, counted.bytes


LAYOUTS = {
    "rows": Execution(),
    "time": Execution(sequence_ranks=0),
    "grid": Execution(sequence_ranks=2),
    "sharded": Execution(sharded=True),
    "sharded_time": Execution(sharded=True, sequence_ranks=0),
    "sharded_grid": Execution(sharded=True, sequence_ranks=2),
}


def layouts(size: int) -> dict[str, Execution]:
    """Every layout for so many ranks; 0 stands for all of them."""
    return {
        name: replace(how, sequence_ranks=how.sequence_ranks or size)
        for name, how in LAYOUTS.items()
        if size > 2 or "grid" not in name
    }


def training(folder: Path) -> None:
    """The command itself in every layout."""
    rank = os.environ["RANK"] = str(dist.get_rank())
    for name, how in layouts(dist.get_world_size()).items():
        options = ["--sequence-ranks", str(how.sequence_ranks)] + ["--sharded"] * how.sharded
        with contextlib.redirect_stderr(io.StringIO()) as said:
            code = main(["train", str(folder / "run.toml"), "--out", str(folder / name), *options])
        assert code == 0, said.getvalue()
        assert (rank == "0") == bool(said.getvalue()), name


def relay(folder: Path) -> None:
    """One run whose steps are taken in one layout after another, from checkpoint to checkpoint."""
    ranks, cfg = Ranks.of_world(), load_config(folder / "run.toml")
    for step, how in enumerate(layouts(ranks.size).values()):
        trainer = Trainer(cfg, folder / "relay", ranks, how)
        assert trainer.step == step
        trainer._advance(Ahead(trainer._draw, 0))
        trainer.save()
        dist.barrier()  # the others read what rank 0 writes


def stopping(folder: Path) -> None:
    """A signal that reaches one rank alone stops all of them after one step."""
    ranks, cfg = Ranks.of_world(), load_config(folder / "run.toml")
    trainer = Trainer(cfg, folder / "stopped", ranks, Execution(sharded=True))
    update = trainer.update

    def interrupted(*operands: Tensor) -> Tensor:
        if trainer.step == 1 and ranks.rank == ranks.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(*operands)

    trainer.update = interrupted
    with pytest.raises(KeyboardInterrupt, match=str(int(signal.SIGTERM))):
        trainer.run(Progress(6, 0, io.StringIO()))
    dist.barrier()
    found = newest_checkpoint(folder / "stopped")
    assert found is not None
    assert found.step == trainer.step == 2


OF_TENSORS = (
    linear_recurrence,
    convolution,
    selective,
    duality,
    model,
    traffic,
    short_parts,
    bytes_of_a_step,
)
OF_THE_COMMAND = (training, relay, stopping)  # which finds its device by itself


def child(rank: int, size: int, folder: Path, backend: str) -> None:
    """Run the checks of one rank and write what failed."""
    torch.set_num_threads(1)
    device = torch.device("cpu") if backend == "gloo" else torch.device("cuda", rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store = f"file://{folder / 'store'}"
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=size)
    found: dict[str, str] = {}
    for check in OF_TENSORS + OF_THE_COMMAND:
        torch.set_default_device(device if check in OF_TENSORS else "cpu")
        torch.manual_seed(0)
        try:
            check(folder)
        except BaseException:  # noqa: BLE001 (what failed goes to the test that asked)
            found[check.__name__] = traceback.format_exc()
            break  # the ranks are no longer in step
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    size, folder, backend = int(sys.argv[1]), Path(sys.argv[2]), (*sys.argv[3:], "gloo")[0]
    (folder / "run.toml").write_text(CONFIG)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(r, size, folder, backend)) for r in range(size)]
    for process in children:
        process.start()
    for process in children:
        process.join()
