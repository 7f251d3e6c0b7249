"""`python -m ssm_ref generate FOLDER PROMPT …` and `python -m ssm_ref train CONFIG`.

`generate` continues prompts with a checkpoint folder that has a tokenizer; `train` runs what a
config describes.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ssm_ref.checkpoint import from_pretrained, stop_tokens
from ssm_ref.generation import Sampling, stream
from ssm_ref.language_model import LanguageModel
from ssm_ref.training import command as train

BROKEN = "\N{REPLACEMENT CHARACTER}"


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
    command.add_argument(
        "--stop", action="append", default=[], metavar="TOKEN", help="beside config.json's own"
    )
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
    stop |= stop_tokens(args.folder)
    model = from_pretrained(args.folder)
    if not isinstance(model, LanguageModel):
        raise ValueError(f"{args.folder} holds a {type(model).__name__}, not a language model")
    prompts = [tokenizer.encode(prompt).ids for prompt in args.prompts]
    given = stream(model, prompts, max_new_tokens=args.max_new_tokens, sampling=sampling, stop=stop)
    if len(prompts) == 1:
        _write_one(given, args.prompts[0], tokenizer)
    else:
        _write_all(given, args, tokenizer)


def _write_one(given: Iterator[list[int | None]], prompt: str, tokenizer: Any) -> None:
    """The text of a single prompt as it comes."""
    row: list[int] = []
    print(prompt, end="", flush=True)
    shown = text = ""
    for (token,) in given:
        if token is not None:
            row.append(token)
        text = tokenizer.decode(row)
        if not text.endswith(BROKEN):  # bytes of a letter whose other bytes are still to come
            print(text[len(shown) :], end="", flush=True)
            shown = text
    print(text[len(shown) :])


def _write_all(given: Iterator[list[int | None]], args: argparse.Namespace, tokenizer: Any) -> None:
    """Several prompts at the end, with a count of tokens on the way."""
    rows: list[list[int]] = [[] for _ in args.prompts]
    for tokens in given:
        for row, token in zip(rows, tokens, strict=True):
            if token is not None:
                row.append(token)
        count = f"{max(map(len, rows))} of {args.max_new_tokens} tokens"
        print(f"\r{count}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for prompt, row in zip(args.prompts, rows, strict=True):
        print(f"{prompt}{tokenizer.decode(row)}")


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
