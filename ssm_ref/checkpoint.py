"""Loading and saving real checkpoints: safetensors files and a config.json in a local folder.

Every name, shape and dtype is compared with the model before a single tensor is read, so a folder
loads whole or not at all. Pickled files are refused: reading one can run any code.
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ssm_ref.layouts.falcon_h1 import FALCON_H1
from ssm_ref.layouts.jamba import JAMBA
from ssm_ref.layouts.kimi_linear import KIMI_LINEAR
from ssm_ref.layouts.layout import Layout, Place
from ssm_ref.layouts.llama import LLAMA
from ssm_ref.layouts.mamba import STATE_SPACES, TRANSFORMERS_MAMBA, TRANSFORMERS_MAMBA2
from ssm_ref.layouts.mamba3 import MAMBA3
from ssm_ref.layouts.nemotron_h import NEMOTRON_H
from ssm_ref.layouts.qwen3_next import QWEN3_NEXT
from ssm_ref.layouts.rwkv import RWKV
from ssm_ref.layouts.vision import AUDIO_MAMBA, VIM
from ssm_ref.layouts.zamba2 import ZAMBA2

LAYOUTS: tuple[Layout, ...] = (
    TRANSFORMERS_MAMBA,
    TRANSFORMERS_MAMBA2,
    LLAMA,
    JAMBA,
    NEMOTRON_H,
    FALCON_H1,
    ZAMBA2,
    QWEN3_NEXT,
    KIMI_LINEAR,
    RWKV,
    STATE_SPACES,
    MAMBA3,
    VIM,
    AUDIO_MAMBA,
)
INDEX = "model.safetensors.index.json"
WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# A decay or step size rounded to bfloat16 changes how far the memory reaches.
KEPT_IN_FLOAT32 = ("A_log", "D", "dt_bias", "time_decay", "time_first")


def from_pretrained(folder: str | Path, *, dtype: torch.dtype | None = None) -> nn.Module:
    """The model stored in `folder`, in evaluation mode, on the CPU.

    The layout is told from config.json. Weights keep the dtype they are stored in, or take `dtype`;
    A, D and the bias of Δ are float32 at least. Raises `ValueError` for an unknown layout or one
    with unsupported options, for pickled files, and for tensors that are missing, left over, of
    another shape or not floating point: all of them are named, with their shapes.
    """
    folder = Path(folder)
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype must be floating point; got {dtype}")
    config = _read_json(folder / "config.json")
    layout = _layout_for(config)
    with torch.device("meta"):
        model = layout.build(config)
    files = _tensor_files(folder)
    places = layout.places(model)
    _compare(_stored_shapes(folder, files), places, layout.aliases)
    loaded = _gather(folder, files, places, dict(model.named_parameters()), dtype)
    _check_aliases(folder, files, layout.aliases, places)
    model.load_state_dict(loaded, strict=True, assign=True)
    return model.requires_grad_().eval()


def stop_tokens(folder: str | Path) -> frozenset[int]:
    """Tokens that end a text by `eos_token_id` of the folder's config.json; none if it has none."""
    value = _read_json(Path(folder) / "config.json").get("eos_token_id")
    tokens = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(token, int) for token in tokens):
        raise ValueError(f"config.json: eos_token_id must be one number or a list; got {value!r}")
    return frozenset(tokens)


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    *,
    layout: str | None = None,
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Store `model` in `folder` as config.json and safetensors, sharded above `max_shard_bytes`.

    Everything is written beside what is there and then moved over it, so a save that fails leaves
    the folder as it was.

    `layout` is the name of one of `LAYOUTS`, such as "transformers mamba" or "state-spaces"; the
    first that fits the model when not given. Raises `ValueError` if none fits or the one named does
    not.
    """
    if max_shard_bytes < 1:
        raise ValueError(f"max_shard_bytes must be at least 1; got {max_shard_bytes}")
    fitting = [known for known in LAYOUTS if known.describes(model)]
    chosen = [known for known in fitting if layout in (None, known.name)]
    if not chosen:
        raise ValueError(
            f"{type(model).__name__} can be stored as {[known.name for known in fitting]}; "
            f"got layout={layout!r}"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as beside:
        _write_shards(to_stored(model, chosen[0]), Path(beside), max_shard_bytes)
        text = json.dumps(chosen[0].describe(model), indent=2, sort_keys=True)
        (Path(beside) / "config.json").write_text(text + "\n", encoding="utf-8")
        new = {path.name for path in Path(beside).iterdir()}
        for name in sorted(new):
            os.replace(Path(beside) / name, folder / name)
    for path in folder.glob("model*.safetensors*"):
        if WEIGHTS.fullmatch(path.name) and path.name not in new:
            path.unlink()  # of the checkpoint that was here before


def to_stored(model: nn.Module, layout: Layout) -> dict[str, Tensor]:
    """The tensors of `model` under the names and shapes of `layout`."""
    parameters = dict(model.named_parameters())
    stored = {}
    for name, place in layout.places(model).items():
        chosen = zip(place.parts, place.chosen, strict=True)
        parts = [parameters[part].detach()[rows] for part, rows in chosen]
        tensor = torch.cat(parts).reshape(place.shape)
        if place.order is not None:
            tensor = tensor[:, list(place.order)]
        stored[name] = tensor.contiguous().clone()
    return stored


def _layout_for(config: Mapping[str, Any]) -> Layout:
    for layout in LAYOUTS:
        if layout.recognises(config):
            return layout
    known = ", ".join(layout.name for layout in LAYOUTS)
    raise ValueError(
        f"config.json is of no known layout ({known}); its model_type is "
        f"{config.get('model_type')!r} and its entries are {sorted(config)}"
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object; got {type(value).__name__}")
    return value


def _tensor_files(folder: Path) -> dict[str, str] | list[str]:
    """The index {tensor: file} of a sharded checkpoint, or the one file of a whole one."""
    if (folder / INDEX).is_file():
        index = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise ValueError(f"{folder / INDEX} has no weight_map")
        for file in sorted(set(index.values())):
            if Path(file).name != file or not (folder / file).is_file():
                raise ValueError(f"{INDEX} names {file!r}, which is no file of {folder}")
        return index
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise ValueError(
            f"{folder} holds only pickled weights ({', '.join(pickles)}), which are refused: "
            "reading them can run any code. Convert them to model.safetensors"
        )
    raise ValueError(f"{folder} has neither model.safetensors nor {INDEX}")


def _stored_shapes(folder: Path, files: dict[str, str] | list[str]) -> dict[str, tuple[int, ...]]:
    """Shape of every stored tensor, from the headers alone."""
    shapes: dict[str, tuple[int, ...]] = {}
    names = files if isinstance(files, list) else sorted(set(files.values()))
    for file in names:
        try:
            with safe_open(folder / file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (not a mapping)
                    if isinstance(files, dict) and files.get(name) != file:
                        raise ValueError(
                            f"{file} holds {name}, which {INDEX} places in {files.get(name)}"
                        )
                    piece = opened.get_slice(name)
                    if not piece.get_dtype().startswith(("F", "BF")):
                        raise ValueError(f"{name} must be floating point; got {piece.get_dtype()}")
                    shapes[name] = tuple(piece.get_shape())
        except SafetensorError as error:
            raise ValueError(f"{folder / file} is no safetensors file: {error}") from error
    if isinstance(files, dict) and (absent := sorted(files.keys() - shapes.keys())):
        raise ValueError(f"{INDEX} names tensors that its files do not hold: {absent}")
    return shapes


def _compare(
    stored: Mapping[str, tuple[int, ...]],
    places: Mapping[str, Place],
    aliases: Mapping[str, str],
) -> None:
    wrong = [f"missing {n} {p.shape}" for n, p in places.items() if n not in stored]
    wrong += [
        f"left over {name} {shape}"
        for name, shape in stored.items()
        if name not in places and (name not in aliases or places[aliases[name]].shape != shape)
    ]
    wrong += [
        f"{name} must have shape {place.shape}; got {stored[name]}"
        for name, place in places.items()
        if name in stored and stored[name] != place.shape
    ]
    if wrong:
        more = f"; and {len(wrong) - 20} more" if len(wrong) > 20 else ""
        raise ValueError("the checkpoint does not fit: " + "; ".join(wrong[:20]) + more)


def _read(folder: Path, files: dict[str, str] | list[str], names: set[str]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in files if isinstance(files, list) else sorted(set(files.values())):
        with safe_open(folder / file, "pt") as opened:
            tensors |= {name: opened.get_tensor(name) for name in opened.keys() if name in names}  # noqa: SIM118
    return tensors


def _gather(
    folder: Path,
    files: dict[str, str] | list[str],
    places: Mapping[str, Place],
    parameters: Mapping[str, Tensor],
    dtype: torch.dtype | None,
) -> dict[str, Tensor]:
    """Every parameter of the model from its place in the files."""
    loaded: dict[str, Tensor] = {}
    for name, tensor in _read(folder, files, set(places)).items():
        place = places[name]
        if place.order is not None:
            tensor = tensor[:, torch.tensor(place.order).argsort()]
        chosen = list(zip(place.parts, place.chosen, strict=True))
        shapes = [parameters[part][taken].shape for part, taken in chosen]
        rows = tensor.reshape(sum(shape[0] for shape in shapes), *shapes[0][1:])
        pieces = rows.split([shape[0] for shape in shapes])
        for (part, taken), piece in zip(chosen, pieces, strict=True):
            piece = _cast(part, piece, dtype)
            if taken == slice(None):
                loaded[part] = piece
            else:
                stack = loaded.setdefault(part, piece.new_empty(parameters[part].shape))
                stack[taken] = piece
    return loaded


def _cast(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    wanted = dtype or tensor.dtype
    if name.rsplit(".", 1)[-1] in KEPT_IN_FLOAT32:
        wanted = torch.promote_types(wanted, torch.float32)
    return tensor.to(wanted)


def _check_aliases(
    folder: Path,
    files: dict[str, str] | list[str],
    aliases: Mapping[str, str],
    places: Mapping[str, Place],
) -> None:
    for alias, name in aliases.items():
        if alias in places:
            continue
        tensors = _read(folder, files, {alias, name})
        if alias in tensors and not torch.equal(tensors[alias], tensors[name]):
            raise ValueError(
                f"config.json ties {alias} to {name}, but the file stores other values"
            )


def _write_shards(tensors: Mapping[str, Tensor], folder: Path, max_shard_bytes: int) -> None:
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    metadata = {"format": "pt"}
    if len(shards) == 1:
        save_file(shards[0], folder / "model.safetensors", metadata)
        return
    index: dict[str, str] = {}
    for i, shard in enumerate(shards, start=1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata)
        index |= dict.fromkeys(shard, file)
    total = {"total_size": sum(tensor.nbytes for tensor in tensors.values())}
    text = json.dumps({"metadata": total, "weight_map": index}, indent=2, sort_keys=True)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")
