"""Recordings in folders, one folder a class, as the spectrograms that Audio Mamba reads."""

import fnmatch
import hashlib
import wave
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssm_ref.audio.spectrogram import SpectrogramConfig, log_mel, normalise, to_length
from ssm_ref.training.labelled import LabelledSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Recordings:
    """WAV files below `folder`/CLASS/, cut or filled to `seconds`, as log-mel frames.

    Args:
        folder: where the folders of the classes are, from the folder of the config.
        seconds: what is read of each file, from its beginning.
        n_mels: mel bands.
        delay: up to so many seconds of silence before each recording, as its name decides: speech
            that begins at a known moment is easier than it is in life.
        held_out: a share of the names (a name is a path below its class, and is held out in all
            classes or in none), or patterns of names such as "*-m3-*".
        moved: in training every spectrogram is moved by up to so many frames, either way.
        hidden_bands: in training a strip of up to so many mel bands is hidden in every spectrogram,
            and one of up to `hidden_frames` frames (SpecAugment, Park et al., 2019).
        left_out: patterns of names that are not read at all, such as "silence/*".
        get: how the files are made or fetched; shown where they are missing.
    """

    folder: str
    seconds: float = 1.28
    n_mels: int = 64
    delay: float = 0.0
    held_out: float | tuple[str, ...] = 0.2
    moved: int = 0
    hidden_bands: int = 0
    hidden_frames: int = 0
    left_out: tuple[str, ...] = ()
    get: str = ""

    def __post_init__(self) -> None:
        if self.n_mels < 1 or not 0 <= self.delay < self.seconds:
            raise ValueError(
                "n_mels ≥ 1 and 0 ≤ delay < seconds are wanted; got "
                f"{self.n_mels}, {self.delay}, {self.seconds}"
            )
        if not 0 <= self.hidden_bands <= self.n_mels or min(self.hidden_frames, self.moved) < 0:
            raise ValueError(
                f"0 ≤ hidden_bands ≤ n_mels = {self.n_mels}, hidden_frames ≥ 0 and moved ≥ 0 are "
                f"wanted; got {self.hidden_bands}, {self.hidden_frames} and {self.moved}"
            )
        if isinstance(self.held_out, float) and not 0 < self.held_out < 1:
            raise ValueError(f"held_out must lie in (0, 1) or be patterns; got {self.held_out}")

    def open(self, folder: Path, seed: int, where: str) -> LabelledSource:
        """The recordings; `ValueError` for what is missing, unlike the rest or cannot be read."""
        home = folder / self.folder
        classes = sorted(p.name for p in home.iterdir() if p.is_dir()) if home.is_dir() else []
        files = [
            (k, path)
            for k in classes
            for path in sorted((home / k).rglob("*.wav"))
            if not _fits(path.relative_to(home / k).as_posix(), self.left_out)
        ]
        empty = [k for k in classes if all(k != one for one, _ in files)]
        if len(classes) < 2 or empty:
            what = f"no .wav below {empty[0]}" if empty else "fewer than two folders of classes"
            hint = f". Get them with: {self.get}" if self.get else ""
            raise ValueError(f"{where}.folder = {self.folder!r}: {what} in {home}{hint}")
        rate = _sample_rate(files[0][1], where)
        front = SpectrogramConfig(
            sample_rate=rate,
            n_mels=self.n_mels,
            frame_length=rate // 40,
            frame_shift=rate // 100,
        )
        frames = max(1, front.frames(round(self.seconds * rate)))
        names = [path.relative_to(home / k).as_posix() for k, path in files]
        sounds = (_read(path, rate, self.seconds, where) for _, path in files)
        raw = [
            log_mel(self._placed(sound, f"{k}/{name}", front), front)
            for sound, name, (k, _) in zip(sounds, names, files, strict=True)
        ]
        late = torch.tensor([self._is_held(name) for name in names])
        if not late.any() or late.all():
            raise ValueError(
                f"{where}.held_out = {self.held_out!r}: it holds out {int(late.sum())} of "
                f"{len(files)} files; some have to be on either side"
            )
        kept = torch.nonzero(~late).flatten()
        heard = torch.cat([raw[i][0].flatten() for i in kept])
        mean, std = heard.mean().item(), heard.std().item()
        rows = [normalise(to_length(one, frames), mean=mean, std=std)[0] for one in raw]
        labels = torch.tensor([classes.index(k) for k, _ in files])
        sizes = {
            "frames": frames,
            "n_mels": self.n_mels,
            "n_classes": len(classes),
            "mean": mean,
            "std": std,
        }
        held = torch.nonzero(late).flatten()
        return LabelledSource(self, torch.stack(rows), labels, kept, held, sizes, seed, self._vary)

    def _placed(self, sound: Tensor, name: str, front: SpectrogramConfig) -> Tensor:
        """(1, samples) after its silence, cut to `seconds`, at least one frame long."""
        silence = round(_share(name) * self.delay * front.sample_rate)
        sound = torch.nn.functional.pad(sound, (silence, 0))
        sound = sound[: round(self.seconds * front.sample_rate)]
        missing = max(0, front.frame_length - len(sound))
        return torch.nn.functional.pad(sound, (0, missing))[None]

    def _vary(self, spectrograms: Tensor, g: torch.Generator) -> Tensor:
        """Spectrograms moved in time, with a strip of bands and one of frames at their mean."""
        n, frames, bands = spectrograms.shape
        by = torch.randint(-self.moved, self.moved + 1, (n, 1), generator=g)
        source = (torch.arange(frames) - by).clamp(0, frames - 1)  # the frame at an edge stays on
        spectrograms = spectrograms.gather(1, source[..., None].expand(-1, -1, bands))
        hidden = torch.zeros(spectrograms.shape, dtype=torch.bool)
        for axis, most in ((1, self.hidden_frames), (2, self.hidden_bands)):
            size = spectrograms.shape[axis]
            width = torch.randint(min(most, size) + 1, (n, 1), generator=g)
            start = (torch.rand(n, 1, generator=g) * (size - width + 1)).long()
            place = torch.arange(size)
            hidden |= ((place >= start) & (place < start + width)).unsqueeze(3 - axis)
        return spectrograms.masked_fill(hidden, 0.0)

    def _is_held(self, name: str) -> bool:
        if isinstance(self.held_out, tuple):
            return _fits(name, self.held_out)
        return _share(name) < self.held_out


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _share(name: str) -> float:
    """A number in [0, 1) that follows from a name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") / 2**32


def _sample_rate(path: Path, where: str) -> int:
    try:
        with wave.open(str(path)) as file:
            return file.getframerate()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{where}: {path} is no WAV of plain samples: {error}") from error


def _read(path: Path, rate: int, seconds: float, where: str) -> Tensor:
    """The first `seconds` of a file as numbers in [-1, 1]."""
    if _sample_rate(path, where) != rate:
        raise ValueError(f"{where}: {path} is not sampled at {rate} Hz like the first file")
    with wave.open(str(path)) as file:
        if (file.getsampwidth(), file.getnchannels()) != (2, 1):
            raise ValueError(
                f"{where}: {path} must hold one channel of 16 bits; it has "
                f"{file.getnchannels()} of {8 * file.getsampwidth()}"
            )
        data = file.readframes(round(seconds * rate))
    if not data:
        return torch.zeros(0)
    return torch.frombuffer(bytearray(data), dtype=torch.int16).float() / 2**15
