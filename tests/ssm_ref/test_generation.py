"""Generation: a batch gives what each prompt gives alone, and sampling keeps to its bounds."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from ssm_ref.__main__ import main
from ssm_ref.checkpoint import save_pretrained
from ssm_ref.generation import Sampling, generate, probabilities, stream
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.selective.mamba2 import Mamba2Config, Mamba2LanguageModel

PROMPTS = [[1, 2], [3, 4, 5, 6, 7], [8]]


def make() -> LanguageModel:
    torch.manual_seed(0)
    shell = LanguageModelConfig(vocab_size=11, d_model=16, n_layers=2, pad_vocab_to=1)
    model = Mamba2LanguageModel(shell, Mamba2Config(d_model=16, d_state=8, d_head=8))
    with torch.no_grad():
        model.embedding.weight.normal_()
    return model.eval()


def test_greedy_equals_running_the_model_anew_for_every_token() -> None:
    model, ids = make(), [3, 1, 4]
    for token in generate(model, [ids], max_new_tokens=6)[0]:
        assert token == int(model(torch.tensor([ids]))[0, -1].argmax())
        ids = [*ids, token]


def test_a_batch_of_unequal_prompts_gives_what_each_gives_alone() -> None:
    model = make()
    alone = [generate(model, [prompt], max_new_tokens=6)[0] for prompt in PROMPTS]
    assert generate(model, PROMPTS, max_new_tokens=6) == alone


def test_streaming_and_stop_tokens() -> None:
    model = make()
    free = generate(model, PROMPTS, max_new_tokens=6)
    stop = free[0][2]
    stopped = generate(model, PROMPTS, max_new_tokens=6, stop=frozenset({stop}))
    for row, full in zip(stopped, free, strict=True):
        end = full.index(stop) + 1 if stop in full else 6
        assert row == full[:end]
    first = next(stream(model, PROMPTS, max_new_tokens=6))
    assert first[2] == free[2][0]
    assert first[1] is None


def test_sampling_is_cut_to_top_k_and_top_p() -> None:
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    soft = logits.softmax(dim=1)
    k = probabilities(logits, Sampling(temperature=1.0, top_k=2))
    assert k[0, 2:].eq(0).all()
    torch.testing.assert_close(k[0, :2], soft[0, :2] / soft[0, :2].sum())
    p = probabilities(logits, Sampling(temperature=1.0, top_p=float(soft[0, 0]) + 0.01))
    assert p[0, 2:].eq(0).all()
    tiny = probabilities(logits, Sampling(temperature=1.0, top_p=1e-6))
    torch.testing.assert_close(tiny, torch.tensor([[1.0, 0, 0, 0]]))
    cold = probabilities(logits, Sampling(temperature=0.01))
    torch.testing.assert_close(cold, probabilities(logits, Sampling()))


def test_a_seed_repeats_itself() -> None:
    model, hot = make(), Sampling(temperature=2.0, seed=3)
    texts = [generate(model, PROMPTS, max_new_tokens=8, sampling=hot) for _ in range(2)]
    assert texts[0] == texts[1]
    hot = Sampling(temperature=2.0)
    texts = [generate(model, PROMPTS, max_new_tokens=8, sampling=hot) for _ in range(4)]
    assert any(text != texts[0] for text in texts)  # equal by chance once in 11^60 or so


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.5},
    ],
)
def test_refuses_sampling(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        Sampling(**wrong)


def test_refuses_prompts() -> None:
    for prompts in ([], [[1], []]):
        with pytest.raises(ValueError, match="each of at least one token"):
            stream(make(), prompts, max_new_tokens=1)
    for prompts in ([1, 2], ["w1"], [[1.0]]):
        with pytest.raises(ValueError, match="a prompt must be a sequence of token ids"):
            stream(make(), prompts, max_new_tokens=1)
    for number in (-1, 2.5):
        with pytest.raises(ValueError, match=f"a whole number ≥ 0; got {number}"):
            stream(make(), [[1]], max_new_tokens=number)
    for stop in (3, ["w3"]):
        with pytest.raises(ValueError, match="stop must be a collection of token ids"):
            stream(make(), [[1]], max_new_tokens=1, stop=stop)


def test_prompts_of_one_length_may_be_a_tensor() -> None:
    want = generate(make(), [[1, 2], [3, 4]], max_new_tokens=3)
    assert generate(make(), torch.tensor([[1, 2], [3, 4]]), max_new_tokens=3) == want


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_pretrained(make(), tmp_path)
    words = {f"w{i}": i for i in range(11)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(folder), "w1 w2", "--max-new-tokens", "4"]) == 0
    want = generate(make(), [[1, 2]], max_new_tokens=4)[0]
    got = [int(i) for i in capsys.readouterr().out.replace("w", " ").split()]
    assert got == [1, 2, *want]
    assert main(["generate", str(folder), "w1", "w3 w4", "--max-new-tokens", "3"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert said.err.strip().split("\r")[-1] == "3 of 3 tokens"
    assert main(["generate", str(folder), "w1 w2", "--max-new-tokens", "0"]) == 0
    assert capsys.readouterr().out == "w1 w2\n"


def test_command_line_stops_where_the_config_says(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = generate(make(), [[1, 2]], max_new_tokens=1)[0][0]
    config = json.loads((folder / "config.json").read_text())
    for eos in (first, [first, 10]):
        (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": eos}))
        assert main(["generate", str(folder), "w1 w2", "--max-new-tokens", "9"]) == 0
        assert capsys.readouterr().out.strip() == f"w1 w2w{first}"
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": "end"}))
    assert main(["generate", str(folder), "w1 w2"]) == 2
    assert "eos_token_id must be one number or a list; got 'end'" in capsys.readouterr().err


def test_letters_of_several_bytes_are_shown_whole(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a letter is not shown: its bytes come as tokens of their own."""

    class Bytes:
        @staticmethod
        def decode(row: list[int]) -> str:
            return "aбв".encode()[: len(row)].decode(errors="replace")

        @staticmethod
        def encode(prompt: str) -> Any:
            return SimpleNamespace(ids=[1])

    monkeypatch.setattr("ssm_ref.__main__._tokenizer", lambda folder: Bytes)
    assert main(["generate", str(folder), ">", "--max-new-tokens", "5"]) == 0
    assert capsys.readouterr().out == ">aбв\n"
    assert main(["generate", str(folder), ">", "--max-new-tokens", "4"]) == 0
    assert capsys.readouterr().out == ">aб\N{REPLACEMENT CHARACTER}\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--top-p", "2"], "top_p must be"), (["--stop", "nix"], "no token 'nix'")],
)
def test_command_line_names_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["generate", str(folder), "w1", *options]) == 2
    assert words in capsys.readouterr().err
