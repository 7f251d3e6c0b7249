"""`python -m ssm_ref generate FOLDER PROMPT …` and `python -m ssm_ref train CONFIG`.

`generate` continues prompts with a checkpoint folder that has a tokenizer; `train` runs what a
config describes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssm_ref.checkpoint import from_pretrained
from ssm_ref.generation import Sampling, stream
from ssm_ref.language_model import LanguageModel
from ssm_ref.training import command as train


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when it did its work, 2 for files or options that do not fit."""
    parser = argparse.ArgumentParser(prog="python -m ssm_ref")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("generate", help="continue prompts with a model from a folder")
    command.add_argument("folder", type=Path, help="config.json, model.safetensors, tokenizer.json")
    command.add_argument("prompts", nargs="+", metavar="prompt")
    command.add_argument("--max-new-tokens", type=int, default=50)
    command.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    command.add_argument("--top-k", type=int)
    command.add_argument("--top-p", type=float, default=1.0)
    command.add_argument("--seed", type=int)
    command.add_argument("--stop", action="append", default=[], metavar="TOKEN")
    train.configure(commands.add_parser("train", help="train the model of a config"))
    args = parser.parse_args(argv)
    try:
        if args.command == "train":
            return train.run(args)
        _generate(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _generate(args: argparse.Namespace) -> None:
    tokenizer = _tokenizer(args.folder)
    sampling = Sampling(
        temperature=args.temperature, top_k=args.top_k, top_p=args.top_p, seed=args.seed
    )
    stop = frozenset(_token_id(tokenizer, token) for token in args.stop)
    model = from_pretrained(args.folder)
    if not isinstance(model, LanguageModel):
        raise ValueError(f"{args.folder} holds a {type(model).__name__}, not a language model")
    prompts = [tokenizer.encode(prompt).ids for prompt in args.prompts]
    rows: list[list[int]] = [[] for _ in prompts]
    for step, given in enumerate(
        stream(model, prompts, max_new_tokens=args.max_new_tokens, sampling=sampling, stop=stop),
        start=1,
    ):
        for row, token in zip(rows, given, strict=True):
            if token is not None:
                row.append(token)
        _show(step, rows, args, tokenizer)
    if len(rows) == 1:
        print()
        return
    print(file=sys.stderr)
    for prompt, row in zip(args.prompts, rows, strict=True):
        print(f"{prompt}{tokenizer.decode(row)}")


def _show(step: int, rows: list[list[int]], args: argparse.Namespace, tokenizer: Any) -> None:
    """Stream the text of a single prompt; count steps for several."""
    if len(rows) > 1:
        print(f"\r{step} of {args.max_new_tokens} tokens", end="", file=sys.stderr, flush=True)
        return
    before, now = tokenizer.decode(rows[0][:-1]), tokenizer.decode(rows[0])
    start = args.prompts[0] if step == 1 else ""
    print(start + now[len(before) :], end="", flush=True)


def _tokenizer(folder: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ValueError("generate needs the package tokenizers: pip install tokenizers") from error
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no tokenizer.json")
    return Tokenizer.from_file(str(path))


def _token_id(tokenizer: Any, token: str) -> int:
    number = tokenizer.token_to_id(token)
    if number is None:
        raise ValueError(f"the tokenizer has no token {token!r}")
    return int(number)


if __name__ == "__main__":
    sys.exit(main())
