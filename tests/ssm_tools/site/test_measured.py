"""Measured rows as tables and ratios: the newest run, and the fastest peer of a shape."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from ssm_tools.site.measured import last_run, measurements, ratio_of_largest
from ssm_tools.site.measured_plot import BOTTOM, HEIGHT, length_plot
from ssm_tools.site.strings import strings

WORDS = strings("en")


def row(impl: str, ms: float, **more: Any) -> dict[str, Any]:
    shape = {"b": 1}
    base = {"op": "op", "impl": impl, "ms": ms, "pass": "fwd", "shape": shape, "dtype": "bfloat16"}
    return {**base, "run": "r", "date": "2026-11-24", **more}


def test_ratio_is_to_the_fastest_peer_of_a_shape() -> None:
    rows = [row("ssm_kernels", 1.0), row("slow", 9.0), row("fast", 1.5)]
    rows += [
        row("ssm_kernels", 1.0, **{"pass": "cold_fwd"}),
        row("fast", 90, **{"pass": "cold_fwd"}),
    ]
    found = ratio_of_largest(rows)
    assert found is not None
    assert (found[0], found[2]["impl"]) == (1.5, "fast")
    assert ratio_of_largest([row("ssm_kernels", 1.0)]) is None


def test_ratio_is_that_of_the_call_that_moves_most() -> None:
    rows: list[dict[str, Any]] = []
    for moved, peer in ((1, 9.0), (8, 2.0), (8, 1.2)):
        size = {"shape": {"l": len(rows)}, "bytes_moved": moved}
        rows += [row("ssm_kernels", 1.0, **size), row("peer", peer, **size)]
    found = ratio_of_largest(rows)
    assert found is not None
    assert found[0] == 1.2


def test_newest_run_of_ours_or_of_a_peer_alone() -> None:
    old = [row("ssm_kernels", 1.0, run="a", date="2026-11-01"), row("peer", 1.0, run="a")]
    new = [row("ssm_kernels", 2.0), row("peer", 3.0)]
    assert last_run(old + new) == new
    assert last_run([row("peer", 3.0)]) == [row("peer", 3.0)]
    assert last_run([]) == []


def test_what_the_newest_run_left_out_is_filled_in_where_the_sources_are_the_same() -> None:
    here = {"device": "card", "commit": "c", "source_hash": "h"}
    first = [
        row("ssm_kernels", 9.0, run="a", **here),
        row("ssm_kernels", 5000.0, run="a", **here, **{"pass": "cold_fwd"}),
        row("peer", 1.5, run="a", **here),
    ]
    second = [row("ssm_kernels", 1.0, run="b", **here)]
    assert last_run(first + second) == [first[1], first[2], second[0]]
    assert ratio_of_largest(last_run(first + second)) is None  # ratios are those of one run
    for key in here:
        assert last_run([*first, {**second[0], key: "other"}]) == [{**second[0], key: "other"}]


def test_lengths_are_drawn_per_token() -> None:
    rows = [row("ssm_kernels", l / 1000, shape={"b": 2, "l": l}) for l in (512, 2048, 8192)]
    rows += [row("peer", 1.0, shape={"b": 1, "l": l}) for l in (512, 2048)]
    rows += [row("ssm_kernels", 1.0, shape={"b": 1, "l": 4}, **{"pass": "decode"})]
    svg = length_plot(rows, WORDS)
    assert svg.count("<polyline") == 1  # the peer has too few lengths
    assert "ssm_kernels, fwd: 512: 500, 2048: 500, 8192: 500" in svg
    assert 'role="img"' in svg
    assert length_plot(rows[:2], WORDS) == ""


def test_one_sequence_has_a_line_of_its_own() -> None:
    rows = [
        {"impl": "ssm_kernels", "pass": "fwd", "shape": {"b": b, "l": l}, "ms": 1.0}
        for b, l in ((64, 512), (16, 2048), (1, 32768), (1, 512), (1, 2048))
    ]
    svg = length_plot(rows, WORDS)
    assert svg.count("<polyline") == 2
    assert "ssm_kernels, b 1, fwd" in svg
    assert length_plot(rows[:3], WORDS).count("<polyline") == 1


def layer_rows() -> list[dict[str, Any]]:
    kinds = ("Mamba", "Mamba-2", "attention, flash", "attention, naive", "S4D", "RWKV-7")
    return [
        row(impl, 1.0 + n, op="layer", shape={"b": 1, "l": l, "d": 8}, **more)
        for n, impl in enumerate(kinds)
        for l in (512, 2048, 8192)
        for more in (
            {"pass": "prefill", "peak_mib": 7.0, "state_mib": l / 512},
            {"pass": "decode", "peak_mib": 0.0, "state_mib": l / 512},
            {"pass": "fwd_bwd", "peak_mib": 1.5 * l},
        )
    ]


def test_layers_have_a_picture_a_question() -> None:
    rows = layer_rows()
    svg = length_plot(rows, WORDS)
    titles = re.findall(r'<p class="plot__title">([^<]+)</p>', svg)
    assert titles == [
        WORDS[f"plot_{name}"] for name in ("training", "prefill", "decode", "peak", "kept")
    ]
    assert svg.count("<polyline") == 5 * 6
    assert "Mamba: 512: 1, 2048: 4, 8192: 16" in svg  # kept
    assert "Mamba: 512: 768, 2048: 3.07e+03, 8192: 1.23e+04" in svg  # peak of training
    assert "Mamba: 512: 1e+03, 2048: 1e+03, 8192: 1e+03" in svg  # microseconds a token
    assert "RWKV-7: 512: 1.17e+04, 2048: 2.93e+03" in svg  # nanoseconds a token
    pictures = svg.split("<svg")[1:]
    for picture in pictures:
        drawn = re.findall(r'<polyline (class="line-\d") points="[^"]+"([^/]*)/>', picture)
        assert len(set(drawn)) == 6, "two lines look the same"
    assert "внимание, наивное: 512" in length_plot(rows, strings("ru"))


def test_names_of_layers_speak_the_language_of_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "kernels" / "results"
    folder.mkdir(parents=True)
    text = "\n".join(map(json.dumps, layer_rows()))
    (folder / "layer.jsonl").write_text(text, encoding="utf-8")
    assert "<td>внимание, flash</td>" in measurements(tmp_path, "layer", strings("ru"))
    english = measurements(tmp_path, "layer", WORDS)
    assert "<td>attention, flash</td>" in english
    # The pictures show it all, so a long table is folded behind them.
    assert english.index("<svg") < english.index(f"<summary>{WORDS['table']}</summary>")
    assert english.index("<details") < english.index("<table>")


def test_labels_of_low_lines_stay_inside() -> None:
    rows = [
        row(f"impl{n}", 1.0 if n else 100.0, shape={"b": 1, "l": l})
        for n in range(6)
        for l in (512, 2048, 8192)
    ]
    svg = length_plot(rows, WORDS)
    places = sorted(float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="start"', svg))
    assert min(b - a for a, b in pairwise(places)) >= 14.9
    assert places[-1] <= HEIGHT - BOTTOM + 4


def test_labels_of_near_lines_do_not_meet() -> None:
    rows = [
        row(f"impl{n}", 1 + n / 1000, shape={"b": 1, "l": l})
        for n in range(4)
        for l in (512, 2048, 8192)
    ]
    found = re.findall(r'y="([\d.]+)" text-anchor="start"', length_plot(rows, WORDS))
    places = sorted(map(float, found))
    assert len(places) == 4
    assert min(b - a for a, b in pairwise(places)) >= 14.9


def test_table_shows_rows_with_where_they_are_from(tmp_path: Path) -> None:
    folder = tmp_path / "kernels" / "results"
    folder.mkdir(parents=True)
    rows = [row("sdpa", 3.25, device="a card <1>", floor_ms=1.0, command="bench")]
    (folder / "attention.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    html = measurements(tmp_path, "attention", WORDS)
    assert "<td>3.25</td>" in html
    assert "<details" not in html
    assert "a card &lt;1&gt;" in html
    heads = re.findall(r'<th scope="col">([^<]+)</th>', html)
    assert heads == ["pass", "sizes", "implementation", "ms", "floor, ms", "dtype"]
    assert WORDS["no_rows"] in measurements(tmp_path, "other", WORDS)
