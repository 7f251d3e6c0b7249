"""Parameters shared out over ranks (FSDP2): every rank keeps a part of each, and of its moments.

With W ranks a rank keeps 1/W of parameters, gradients and AdamW's two moments, 16 bytes a parameter
in float32, and a layer is put together only while it computes. A step gathers each layer before its
forward and again before its backward pass, and what lies outside the layers (embedding, last norm)
once; the sums of gradients are scattered after it. In a ring a rank sends, for P_l parameters in
layers, P_0 outside them, and b bytes each,

    b (3 P_l + 2 P_0) (W - 1) / W    bytes a step    (6)

while the all-reduce of DistributedDataParallel sends 2 b (P_l + P_0) (W - 1) / W. A parameter whose
first axis W does not divide is padded to the next multiple.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn


def shard(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` itself, its parameters shared out over all ranks: layer by layer, then the rest."""
    from torch.distributed.device_mesh import init_device_mesh  # a second that few runs need
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in layers_of(model):
        fully_shard(layer, mesh=mesh)
    return cast("nn.Module", fully_shard(model, mesh=mesh))


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The entries of every outermost list of modules, each once."""
    found: dict[nn.Module, None] = {}
    lists = [child for child in model.children() if isinstance(child, nn.ModuleList)]
    for child in model.children():
        if not isinstance(child, nn.ModuleList):
            found |= dict.fromkeys(layers_of(child))
    for entries in lists:
        found |= dict.fromkeys(entries)
    return list(found)


def bytes_sent(layers: int, rest: int, size: int, itemsize: int = 4) -> int:
    """Bytes that a rank sends in a step of `size` ranks, for parameters in layers and the rest."""
    return itemsize * (3 * layers + 2 * rest) * (size - 1) // size  # (6)


def whole(t: Tensor) -> Tensor:
    """`t` put together from the parts of all ranks, which must all ask for it."""
    full: Tensor = cast("Any", t).full_tensor() if _is_shared(t) else t
    return full


def shared_like(own: Tensor, full: Tensor) -> Tensor:
    """`full` on the device of `own`, and shared out over ranks as `own` is."""
    full = full.to(own.device)
    if not _is_shared(own):
        return full
    from torch.distributed.tensor import distribute_tensor

    # Every rank has read the same file: each cuts its part, and nothing is sent.
    parts = cast("Any", own)
    shared: Tensor = distribute_tensor(
        full, parts.device_mesh, parts.placements, src_data_rank=None
    )
    return shared


def _is_shared(t: Tensor) -> bool:
    return hasattr(t, "full_tensor")  # a DTensor, whose class would have to be imported


@torch.no_grad()
def load_whole(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put whole tensors into a model, sharded or not; raises `ValueError` for names or shapes."""
    own: dict[str, Any] = model.state_dict()
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())
        raise ValueError(f"weights of the same names are wanted; got a difference in {odd}")
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            shapes = tuple(tensor.shape), tuple(weights[name].shape)
            raise ValueError(f"{name} must have shape {shapes[0]}; got {shapes[1]}")
        tensor.copy_(shared_like(tensor, weights[name]))
