"""The benchmark: errors, rows, order and failures of its cases at tiny sizes on a CPU."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from triton.runtime.autotuner import Autotuner

from ssm_kernels.bench import __main__ as bench
from ssm_kernels.bench import cases, cold, compiled, layers, models, ready
from ssm_kernels.bench import measure as timing
from ssm_kernels.bench.case import OURS, Case, Impl
from ssm_kernels.bench.decode_cases import conv_step_case, state_update_case
from ssm_kernels.bench.measure import measure
from ssm_kernels.bench.peers import imported
from ssm_kernels.bench.row import Row, operators_hash, source_hash
from ssm_ref.language_model import LanguageModel, LanguageModelConfig
from ssm_ref.selective.mamba import MambaConfig, MambaLanguageModel
from ssm_ref.selective.mamba2 import Mamba2Config, Mamba2LanguageModel

PLACE = {
    "device": "a card", "driver": "1", "torch": "2", "triton": "3", "commit": "c", "command": "m",
    "date": "2026-11-24", "run": "r", "copy_tb_s": 3.0, "matmul_tflop_s": 800.0,
}  # fmt: skip
FLOAT = {"dtype": torch.float32, "device": "cpu"}
MAKES: dict[str, Callable[[], Case]] = {
    "ssd": partial(cases.ssd_case, 2, 8, 4, 2, 3, **FLOAT),
    "selective_scan": partial(cases.selective_scan_case, 2, 8, 3, 4, **FLOAT),
    "causal_conv1d": partial(cases.conv_case, 2, 8, 8, 4, **FLOAT),
    "gated_rms_norm": partial(cases.norm_case, 5, 8, **FLOAT),
    "state_update": partial(state_update_case, 3, 4, 2, 3, **FLOAT),
    "conv_step": partial(conv_step_case, 3, 8, 4, **FLOAT),
}


def clock(run: Callable[[], Any]) -> tuple[float, float, float]:
    run()
    return 2.0, 1.0, 3.0


def row_of(op: str) -> Row:
    found = {"pass": "fwd", "ms": 1.0, "shape": {"b": 1}, "dtype": "bfloat16"}
    return cold.cold_row(op, OURS, found, PLACE)


@pytest.mark.parametrize("name", MAKES)
def test_rows_of_a_case(name: str) -> None:
    case = MAKES[name]()
    rows = [row for row in measure(case, PLACE, clock=clock) if row.impl == OURS]
    assert [row.pass_ for row in rows] == list(case.costs)
    for row in rows:
        assert row.error is not None
        assert row.error < 1e-6
        assert row.floor_ms >= 0
        assert row.bytes_moved == case.costs[row.pass_].bytes_moved
        assert json.loads(row.as_json())["pass"] == row.pass_


def test_decode_is_counted_by_the_step() -> None:
    (row,) = measure(MAKES["state_update"](), PLACE, [OURS], clock=clock)
    assert (row.ms, row.ms_low, row.ms_high) == (0.1, 0.05, 0.15)


def test_a_step_of_one_leaves_the_state_of_the_others() -> None:
    case = MAKES["state_update"]()
    ours = case.impls[OURS]
    before = ours.operands["state"].clone()
    case = dataclasses.replace(case, impls={OURS: ours, "same": ours})
    first, second = measure(case, PLACE, [OURS, "same"], clock=clock)
    assert first.error == second.error
    assert torch.equal(ours.operands["state"], before)


def test_peers_are_compared_in_their_own_layout_and_names() -> None:
    case = MAKES["selective_scan"]()
    ours = case.impls[OURS]

    def call(u: Tensor, **rest: Tensor) -> Tensor:
        return ours.call(x=u.mT, **rest).mT

    operands = {"u" if n == "x" else n: t for n, t in ours.operands.items()}
    operands["u"] = cases.channel_first(operands["u"])
    peer = Impl(operands=operands, call=call, x="u", layout=cases.channel_first)
    case = dataclasses.replace(case, impls={**case.impls, "peer": peer})
    assert all((row.error or 1) < 1e-6 for row in measure(case, PLACE, ["peer"], clock=clock))


def test_a_wrong_peer_shows_in_its_error() -> None:
    case = MAKES["ssd"]()
    ours = case.impls[OURS]
    wrong = Impl(operands=ours.operands, call=lambda **t: 1.5 * ours.call(**t))
    case = dataclasses.replace(case, impls={**case.impls, "wrong": wrong})
    fwd, both = measure(case, PLACE, ["wrong"], clock=clock)
    assert fwd.error == pytest.approx(0.5, rel=1e-4)
    assert both.error == pytest.approx(0.5, rel=1e-4)


def test_a_peer_that_fails_is_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    case = MAKES["gated_rms_norm"]()

    def fail(**_: Tensor) -> Tensor:
        raise RuntimeError("no kernel image")

    broken = Impl(operands=case.impls[OURS].operands, call=fail)
    case = dataclasses.replace(case, impls={"broken": broken, **case.impls})
    assert {row.impl for row in measure(case, PLACE, ["broken", OURS], clock=clock)} == {OURS}
    assert "gated_rms_norm broken fwd failed" in capsys.readouterr().err
    assert imported("no_such_package", "f") is None


def test_floor_is_the_larger_of_memory_and_products() -> None:
    case = cases.ssd_case(1, 8, 1, 2, 2, **FLOAT)
    cost = case.costs["fwd"]
    assert case.floor_ms("fwd", 1e9, 1.0) == cost.flops / 1e9
    assert case.floor_ms("fwd", 1.0, 1e9) == cost.bytes_moved / 1e9
    assert not MAKES["gated_rms_norm"]().products


def test_rows_come_by_value_and_the_budget_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table: dict[str, list[cases.Make]] = {
        "ssd": [MAKES["ssd"]],
        "causal_conv1d": [MAKES["causal_conv1d"]],
    }
    monkeypatch.setattr(bench, "HEADLINE", table)
    monkeypatch.setattr(bench, "LENGTHS", {"ssd": [MAKES["ssd"]]})
    monkeypatch.setattr(bench, "measure", partial(measure, clock=clock))
    left = iter([20.0, 10.0, *[-1.0] * 99])
    # What is asked for shares is no case.
    monkeypatch.setattr(bench, "compiled_rows", lambda *_: iter(()))
    stages = bench.stages(list(table), PLACE, lambda: next(left))
    bench.write(tmp_path, stages)
    bench.write(tmp_path / "all.jsonl", map(row_of, ("ssd", "attention")))
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 2
    ssd = (tmp_path / "ssd.jsonl").read_text().splitlines()
    conv = (tmp_path / "causal_conv1d.jsonl").read_text().splitlines()
    ours = [json.loads(line) for line in ssd + conv if f'"{OURS}"' in line]
    assert [row["op"] for row in ours] == ["ssd", "ssd", "causal_conv1d", "causal_conv1d"]
    assert bench.parse(["ssd", "--budget", "5"]).budget == 5


def test_stages_can_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "HEADLINE", {"ssd": [MAKES["ssd"]]})
    monkeypatch.setattr(bench, "LENGTHS", {"ssd": [MAKES["ssd"]]})
    monkeypatch.setattr(bench, "measure", partial(measure, clock=clock))
    for stage in ("layer_rows", "model_rows", "compiled_rows", "definition_rows"):
        rows = map(row_of, [stage])
        monkeypatch.setattr(bench, stage, lambda *_, rows=rows: rows)

    def ran(*skip: str) -> list[str]:
        ops = ["ssd", "language_model", "layer"]
        return [row.op for row in bench.stages(ops, PLACE, lambda: 1.0, skip=skip)]

    everything = ran()
    assert everything.count("ssd") == 4  # of the headline and of the lengths, both passes
    assert everything[2] == "layer_rows"
    assert everything[-3:] == ["model_rows", "compiled_rows", "definition_rows"]
    skip = bench.parse(["ssd", "--skip", "headline", "lengths", "compiled", "definitions"]).skip
    assert ran(*skip) == []  # the others gave their one row already


def test_a_case_that_cannot_be_made_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_large() -> Case:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(bench, "measure", partial(measure, clock=clock))
    table: dict[str, list[cases.Make]] = {"ssd": [too_large, MAKES["ssd"]]}
    rows = list(bench.timed_cases(table, ["ssd"], PLACE, lambda: 1.0, lambda _, i: i == OURS))
    assert [row.pass_ for row in rows] == ["fwd", "fwd_bwd"]
    assert "ssd: OutOfMemoryError('no room')" in capsys.readouterr().err


def test_layers_of_every_kind_are_timed_and_what_they_keep_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing, "paced", clock)
    shapes = [(1, 4, 128), (1, 8, 128)]
    rows: list[Row] = []
    for name, make in layers.kinds(128).items():
        if not name.endswith("fla-core"):  # on a GPU only
            rows += layers.rows_of(name, make(), shapes, PLACE, lambda: 1.0)
    kept = {(row.impl, row.shape["l"]): row.state_mib for row in rows if row.pass_ == "decode"}
    kinds = {"Mamba", "Mamba-2", "attention, flash", "attention, naive", "S4D", "RWKV-7"}
    assert kinds == {impl for impl, _ in kept}
    for kind in kinds:
        passes = [(row.shape["l"], row.pass_) for row in rows if row.impl == kind]
        assert passes == [(l, p) for l in (4, 8) for p in ("prefill", "decode", "fwd_bwd")]
    for kind in kinds - {"attention, flash", "attention, naive"}:
        assert kept[kind, 4] == kept[kind, 8], "a state does not grow"
    # keys and values of one head of 128, in float32
    assert layers.mebibytes((torch.zeros(1, 1, 8, 128),) * 2) == 2 * 8 * 128 * 4 / 2**20
    assert kept["attention, flash", 8] == round(2 * 8 * 128 * 4 / 2**20, 3)
    assert json.loads(rows[0].as_json())["state_mib"] == rows[0].state_mib
    assert "state_mib" not in json.loads(row_of("ssd").as_json())
    assert not list(layers.rows_of("S4D", layers.s4d(8), [(1, 4, 8)], PLACE, lambda: 0.0))


def test_a_pass_of_a_layer_that_fails_is_named_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "paced", clock)
    subject = layers.s4d(8)

    def forward(_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no room")

    subject = dataclasses.replace(subject, forward=forward)
    shapes = [(1, 4, 8), (1, 8, 8)]
    rows = list(layers.rows_of("S4D", subject, shapes, PLACE, lambda: 1.0))
    assert [row.pass_ for row in rows] == ["prefill", "decode"] * 2
    assert capsys.readouterr().err.count("layer S4D 4 fwd_bwd: OutOfMemoryError") == 1


def test_what_would_take_too_long_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert not timing.is_too_slow([], "x")
    assert not timing.is_too_slow([100.0, 1000.0], "x")  # ten times as long again
    assert not timing.is_too_slow([2500.0], "x")
    assert capsys.readouterr().err == ""
    assert timing.is_too_slow([100.0, 1100.0], "layer x")
    assert capsys.readouterr().err == "layer x: left out, about 12 s a call\n"
    assert timing.is_too_slow([9000.0, 3000.0], "x")  # no pass gets cheaper


def test_a_token_decoded_from_a_cache_is_the_last_of_the_sequence() -> None:
    torch.manual_seed(0)
    for make in (partial(layers.attention, 128), layers.kinds(128)["attention, naive"]):
        subject, u = make(), torch.randn(1, 6, 128)
        y, state = subject.prefill(u)
        step = subject.decode(u, state)  # the last token again, in its own place
        torch.testing.assert_close(step()[:, 0], y[:, -1])


@pytest.mark.parametrize("generation", [1, 2])
def test_models_are_trained_prefilled_and_decoded(generation: int) -> None:
    shell = LanguageModelConfig(vocab_size=50, d_model=16, n_layers=2)
    model: LanguageModel = (
        MambaLanguageModel(shell, MambaConfig(d_model=16))
        if generation == 1
        else Mamba2LanguageModel(shell, Mamba2Config(d_model=16, d_head=8, d_state=4))
    )
    ids = torch.randint(50, (2, 5))
    ran = []
    for name, shape, prepare in models.passes(models.ours(model), ids):
        prepare()()
        ran.append((name, shape))
    assert ran == [
        ("fwd_bwd", {"b": 2, "l": 5}),
        ("prefill", {"b": 2, "l": 5}),
        *(("decode", {"b": rows}) for rows in models.DECODED),
    ]
    assert {impl for _, impl in models.makers()} == {OURS, "mamba_ssm", "transformers"}
    assert {impl for _, impl in models.definitions()} == {"reference"}


def test_rows_of_models_name_what_fails_and_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "paced", clock)
    shell = LanguageModelConfig(vocab_size=50, d_model=16, n_layers=1)

    def broken() -> models.Subject:
        raise ImportError("no such model")

    made = {
        (1, "broken"): broken,
        (1, OURS): lambda: models.ours(MambaLanguageModel(shell, MambaConfig(d_model=16))),
    }
    batches = [torch.randint(50, (2, l)) for l in (3, 5)]
    rows = list(models.rows_of(made, batches, PLACE, lambda: 1.0))
    sequences = [(OURS, "fwd_bwd"), (OURS, "prefill")]
    assert [(row.impl, row.pass_) for row in rows] == [
        *sequences, *sequences, *[(OURS, "decode")] * len(models.DECODED),
    ]  # fmt: skip
    assert rows[2].shape == {"mamba": 1, "b": 2, "l": 5}
    assert "mamba 1 broken: ImportError('no such model')" in capsys.readouterr().err
    assert not list(models.rows_of(made, batches, PLACE, lambda: 0.0))

    monkeypatch.setattr(timing, "paced", lambda _: (3000.0, 3000.0, 3000.0))
    rows = list(models.rows_of(made, batches, PLACE, lambda: 1.0))
    assert [row.shape.get("l") for row in rows] == [3, 3, None, None]
    assert f"mamba 1 {OURS} fwd_bwd: left out, about 12 s a call" in capsys.readouterr().err


def test_definitions_are_compiled_apart_and_given_up_when_late(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = row_of("ssd").as_json()
    assert Row.from_json(line) == row_of("ssd")
    late = f"import time; print('a warning'); print({line!r}, flush=True); time.sleep(60)"
    lines = compiled.until([sys.executable, "-c", late], "", 5.0)
    assert lines == [line]
    assert "given up after 5 s" in capsys.readouterr().err
    echo = "import sys; print(sys.stdin.read())"
    assert compiled.until([sys.executable, "-c", echo], '{"a": 1}', 30.0) == ['{"a": 1}']

    asked = []

    def until(command: list[str], given: str, seconds: float) -> list[str]:
        asked.append((command[-1], json.loads(given), seconds))
        return [line]

    monkeypatch.setattr(compiled, "until", until)
    left = iter([100.0, 100.0, 5.0, 5.0, -1.0])
    rows = list(compiled.compiled_rows(list(cases.HEADLINE), PLACE, lambda: next(left, -1.0)))
    assert rows == [row_of("ssd")] * 2
    assert asked == [("selective_scan", PLACE, compiled.LIMIT), ("ssd", PLACE, 5.0)]


def test_compiling_ahead_runs_every_job_and_stops_what_is_late(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = subprocess.Popen
    codes = {
        "quick": "pass",
        "broken": "raise SystemExit(1)",
        "late": "import time; time.sleep(60)",
    }

    def fake(command: list[str]) -> subprocess.Popen[bytes]:
        return start([sys.executable, "-c", codes[command[3]]])

    wanted = [(name, OURS, "headline", 0, 1) for name in (*codes, "waiting")]
    monkeypatch.setattr(ready.subprocess, "Popen", fake)
    monkeypatch.setattr(ready, "jobs", lambda ops, cores, skip: list(wanted))
    monkeypatch.setattr(ready.os, "cpu_count", lambda: 4)
    ready.compile_ahead([], end=time.perf_counter() + 4, spare=lambda: 3)
    said = [line.partition(", ")[2] for line in capsys.readouterr().err.splitlines()]
    assert [line.split()[:2] for line in said] == [
        ["compiled:", "quick"], ["failed:", "broken"], ["stopped:", "late"], ["not", "begun:"],
    ]  # fmt: skip


def test_first_calls_cover_the_passes_of_each_operator() -> None:
    assert set(cold.OPS) == set(cases.HEADLINE)
    assert [row.shape["b"] for row in map(row_of, cold.OPS)] == [1] * len(cold.OPS)


def test_lengths_hold_constant_tokens_and_one_sequence() -> None:
    shapes = set(cases.SIZES)
    assert {l for b, l in shapes if b == 1} == set(cases.LONG)
    assert {l for b, l in shapes if b * l == cases.TOKENS} == {l for l in cases.LONG if l < 2**16}


def test_cold_rows_take_what_the_processes_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = '{"pass": "fwd", "ms": 1234.56, "shape": {"b": 1}, "dtype": "bfloat16"}\n'
    start = subprocess.Popen

    def fake(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        text = line if command[-1] == OURS else ""
        return start([sys.executable, "-c", f"print({text!r}, end='')"], **options)

    monkeypatch.setattr(cold.subprocess, "Popen", fake)
    running = cold.start(["ssd"], tmp_path)
    found = cold.finish(running, end=time.perf_counter() + 30)
    assert cold.running_now(running) == 0
    rows = [cold.cold_row(*one, PLACE) for one in found]
    assert [(row.impl, row.pass_, row.ms) for row in rows] == [(OURS, "cold_fwd", 1234.6)]


def test_a_first_call_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (tmp_path / "out").write_text("")
    running = [cold.Running("ssd", "mamba_ssm", sleeping, tmp_path / "out")]
    assert cold.finish(running, end=time.perf_counter() + 0.05) == []
    assert sleeping.returncode


def test_candidates_are_shared_out_among_the_compiling_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[tuple[int, bool]] = []

    class Config:
        def __init__(self, number: int) -> None:
            self.number = number

        def all_kwargs(self) -> dict[str, int]:
            return {"number": self.number}

    class Kernel:
        def run(self, *_: Any, warmup: bool, number: int) -> None:
            compiled.append((number, warmup))

    class Tuned:
        arg_names = ("x",)
        fn = Kernel()

        def prune_configs(self, _: dict[str, Any]) -> list[Config]:
            return [Config(i) for i in range(5)]

    monkeypatch.setattr(Autotuner, "run", Autotuner.run)
    for part in range(2):
        ready.compile_only(part, 2)
        Autotuner.run(Tuned(), 1, warmup=False)  # type: ignore[arg-type]
    assert compiled == [(0, True), (2, True), (4, True), (1, True), (3, True)]
    assert {job[0] for job in ready.jobs(["ssd", "selective_scan"], 4)} == {"ssd", "selective_scan"}
    everything = ready.jobs(bench.OPS, 16)
    assert {job[0] for job in everything} == {*bench.OPS} - {"attention"}
    assert len(set(everything)) == len(everything)
    assert {job[1] for job in everything if job[0] == "layer"} <= set(layers.kinds(128))
    stages = {job[2] for job in ready.jobs(["ssd"], 4, ["headline", "compiled"])}
    assert stages == {"lengths", "peer_lengths"}


def test_hash_of_an_operator_reads_its_sources(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    first = source_hash(tmp_path)
    (tmp_path / "a.py").write_text("y")
    assert source_hash(tmp_path) != first
    (tmp_path / "op").mkdir()
    (tmp_path / "op" / "kernel.py").write_text("x")
    every = operators_hash(tmp_path)
    (tmp_path / "op" / "launch.py").write_text("x")
    assert operators_hash(tmp_path) != every
