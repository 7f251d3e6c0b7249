"""Checkpoints that a kill at any moment cannot hurt: written aside, then moved into place.

A checkpoint is one safetensors file with the weights, the optimiser's state and the generator of
random numbers; step and config stand in its header. The data's position is the step. The file is
written under another name, flushed to the disk and renamed, which is atomic: a reader sees the old
file, the new one or both, never a part of one.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from ssm_ref.training.sharding import load_whole, shared_like, whole

NAME = re.compile(r"checkpoint-(\d+)\.safetensors")
KEPT = 2  # checkpoints that stay in the folder


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that was found: its file, step and the tables of the config that made it."""

    path: Path
    step: int
    tables: dict[str, object]


def save_checkpoint(
    folder: Path,
    step: int,
    tables: dict[str, object],
    model: nn.Module,
    optimizer: Optimizer,
    *,
    rank: int = 0,
) -> None:
    """Write the checkpoint of `step` into `folder` and drop all but the newest two.

    Tensors are whole whatever the layout. Rank 0 writes; where parameters are sharded, every rank
    must call this, for each gives its part.
    """
    tensors = {f"model.{name}": whole(t.detach()) for name, t in model.state_dict().items()}
    for name, state in _named_states(model, optimizer).items():
        tensors |= {f"optimizer.{name}.{key}": whole(value) for key, value in state.items()}
    if rank != 0:
        return
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    # Tied weights share memory, which safetensors refuses: every name gets its own copy.
    data = save(
        {name: t.contiguous().clone() for name, t in tensors.items()},
        {"step": str(step), "config": json.dumps(tables, sort_keys=True)},
    )
    write_atomically(folder / f"checkpoint-{step:08d}.safetensors", data)
    for old in _checkpoints(folder)[:-KEPT]:
        old.unlink()


def newest_checkpoint(folder: Path) -> Saved | None:
    """The newest whole checkpoint of `folder`, or None.

    Raises `ValueError` for a file of that name that is no checkpoint.
    """
    paths = _checkpoints(folder)
    if not paths:
        return None
    try:
        with safe_open(paths[-1], "pt") as opened:
            header = opened.metadata() or {}
        return Saved(paths[-1], int(header["step"]), json.loads(header["config"]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{paths[-1]} is no checkpoint: {error}") from error


def load_checkpoint(saved: Saved, model: nn.Module, optimizer: Optimizer) -> None:
    """Put weights, optimiser state and random numbers back as they were at `saved.step`."""
    with safe_open(saved.path, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    weights = {n[6:]: t for n, t in tensors.items() if n.startswith("model.")}
    load_whole(model, weights)
    parameters = dict(model.named_parameters())
    on_device = {id(p) for g in optimizer.param_groups if g["capturable"] for p in g["params"]}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            parameter, _, key = name.removeprefix("optimizer.").rpartition(".")
            owner = parameters[parameter]
            if key != "step":
                tensor = shared_like(owner, tensor)
            elif id(owner) in on_device:  # a graph counts its steps by itself
                tensor = tensor.to(owner.device)
            optimizer.state[owner][key] = tensor
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` in the place of `path` so that no moment shows a part of it."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:  # a full disk: what was written so far is of no use to anybody
        aside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    if os.name == "posix":
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # the new name itself
        finally:
            os.close(descriptor)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("checkpoint-*") if NAME.fullmatch(path.name))


def _named_states(model: nn.Module, optimizer: Optimizer) -> dict[str, dict[str, Tensor]]:
    return {
        name: dict(optimizer.state[parameter])
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
    }
