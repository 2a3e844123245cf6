from __future__ import annotations

import json
import math
import multiprocessing as mp
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from ludocast.compression.exchange import BucketExchange
from ludocast.compression.plan import Plan, bucket_parts

from benchmarks.compression import fit, model, points
from benchmarks.compression.contestants import WIDTHS
from benchmarks.compression.cost import METHODS, Cluster, Costs, Shape, link_bytes, rank_bytes, speed_up, step_seconds
from benchmarks.compression.heat import colour, number
from benchmarks.compression.points import Kernel, Point
from tests.warm.start import warm_python

ROOT = Path(__file__).parents[2]
KERNEL = Kernel("avx512", 0.7, 0.2, 6.0)
TRUE = Costs(0.7, 0.2, 1.6, 6e-6, 0.25, 0.8, 1.1, 0.4, 1.5, 4.0, 0.75)
PARAMETERS = 22_031_360


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_bytes_are_those_that_the_exchange_sends(ranks: int) -> None:
    shapes = [(2048, 1024), (2048,), (512, 2048)]
    parts = bucket_parts(["a", "b", "c"], shapes, torch.float32)
    elements = sum(math.prod(shape) for shape in shapes)
    shape = Shape(elements, 0, 2048)
    exchanges = [
        BucketExchange(Plan(parts, ranks, elements), rank, torch.float32, torch.device("cpu")) for rank in range(ranks)
    ]
    real = sum(exchange.sent_bytes for exchange in exchanges) / ranks
    # Bits, values and plain parts are padded to 64 bytes, and a flag is added; where rows do not divide by the ranks,
    # the largest share's size is everyone's.
    row, messages = (2048 + 24) / 8, 2 * (ranks - 1)
    assert 0 <= real - rank_bytes("onebit", shape, ranks) <= messages * (4 * 64 + 2 * row)


def test_a_steps_seconds_by_hand() -> None:
    shape, costs = (
        Shape(8_000_000, 1000),
        Costs(quantise=1.0, decode=0.5, call=0.0, overlap=0.5, fp16=2.0, per_byte=1.0),
    )
    cluster = Cluster(4, 1e9, latency=0.001)
    # 8 M elements are 32 MB: 48 MB sent, 0.384 s on the wire; two buckets of 6 messages, 12 ms; half of 100 ms hidden.
    assert step_seconds("fp32", 0.1, shape, cluster, costs) == pytest.approx(0.1 + 0.384 + 0.012 - 0.05 + 0.048)
    assert step_seconds("fp16", 0.1, shape, cluster, costs) == pytest.approx(0.1 + 0.192 + 0.012 - 0.05 + 0.024 + 0.016)
    # 1-bit: 1 MB and 24 / 2048 more, times 1.5; coding 6 M · 1 + 2 M · (3 · 0.5 + 1) + 8 M · 0.5 nanoseconds.
    sent = 1.5e6 * (1 + 24 / 2048)
    wire = 8 * sent / 1e9 + 2 * (1 + 3) * 0.001
    assert step_seconds("onebit", 0.1, shape, cluster, costs) == pytest.approx(
        0.1 + 0.015 + sent * 1e-9 + max(wire - 0.05, wire / 2)
    )
    assert step_seconds("onebit-delay", 0.1, shape, cluster, costs) == pytest.approx(0.1 + 0.015 + sent * 1e-9)
    assert step_seconds("none", 0.1, shape, cluster, costs) == 0.1
    shared = replace(cluster, ranks_per_core=2.0)
    assert step_seconds("fp16", 0.1, shape, shared, costs) - step_seconds(
        "fp16", 0.1, shape, cluster, costs
    ) == pytest.approx(0.04)


def test_one_rank_speaks_for_a_host() -> None:
    shape, costs = Shape(8_000_000, 0), Costs(quantise=1.0, decode=0.5, call=1e-3)
    cluster = Cluster(16, 1e9, ranks_per_host=8, local_bits=1e10)
    # A ring of all ranks leaves a host once; two hosts' speakers send one another half of the message twice.
    assert link_bytes("fp32", shape, cluster) == pytest.approx(2 * 15 / 16 * 32e6)
    assert link_bytes("fp32", shape, replace(cluster, tree=True)) == pytest.approx(32e6)
    message = 1e6 * (1 + 24 / 2048)
    assert link_bytes("onebit", shape, cluster) == pytest.approx(message)
    assert link_bytes("onebit", shape, replace(cluster, ranks=8)) == 0
    assert link_bytes("onebit", shape, replace(cluster, ranks_per_host=1)) == pytest.approx(2 * 15 / 16 * message)
    # 4 M coded, 4 M decoded and coded, 8 M decoded: 14 ms; two buckets of 1 + 1 + 2 calls; 32 MB to the speaker and back.
    wire = 8 * message / 1e9 + 64e6 * 8 / 1e10
    assert step_seconds("onebit", 1.0, shape, cluster, costs) == pytest.approx(1 + 0.014 + 0.008 + wire)


def test_without_a_network_coding_is_what_is_left() -> None:
    shape, costs = Shape.of_squares(10**8), Costs(quantise=1.0, decode=0.5)
    nets = [Cluster(2, bits) for bits in (1e9, 1e10, 1e11, 1e13, 1e18)]
    gains = [speed_up("onebit", ("fp32",), 1.0, shape, net, costs) for net in nets]
    assert gains == sorted(gains, reverse=True)
    # 5e7 elements coded, 5e7 decoded and coded as owner, 1e8 decoded: 0.05 + 0.075 + 0.05 seconds beside one of compute.
    assert gains[-1] == pytest.approx(1 / 1.175)
    free = Costs(quantise=0.0, decode=0.0)
    assert speed_up("onebit", ("fp32", "fp16"), 1.0, shape, nets[-1], free) == pytest.approx(1.0)
    # Compute hides nothing: at a bandwidth near 0 only bytes count.
    assert speed_up("onebit", ("fp32",), 1.0, shape, Cluster(2, 1.0), costs) == pytest.approx(32 / (1 + 24 / 2048))


def _compute(ranks: int, batch: int) -> float:
    return (0.05 + batch * 0.0007) * max(1, ranks / 2)


def _synthetic() -> list[Point]:
    found: list[Point] = []
    for ranks, bits in ((2, 1e10), (2, 1e9), (2, 3e8), (2, 2e8), (4, 1e9), (8, 3e9)):
        for batch in (256, 32):
            for method in (*METHODS, "none"):
                point = Point(
                    ranks, 2, f"{bits / 1e6:.0f}mbit", bits, bits, batch, method, PARAMETERS, 3, 1.0, 1.0, 0.1, 1e6,
                    1e6, 0, 0.5, KERNEL,
                )  # fmt: skip
                shape, cluster = fit.bench_shape(PARAMETERS), fit.cluster_of(point)
                seconds = step_seconds(method, _compute(ranks, batch), shape, cluster, TRUE)
                found.append(replace(point, median=seconds, best=seconds))
    return found


def test_the_fit_finds_what_made_the_points() -> None:
    costs, checks = fit.check(_synthetic())
    for name in fit.FITTED:
        assert getattr(costs, name) == pytest.approx(getattr(TRUE, name), rel=0.02), name
    assert (costs.quantise, costs.decode, costs.call) == (0.7, 0.2, 6e-6)
    assert len(checks) == 72
    assert max(abs(check.error(check.within) or 0) for check in checks) < 1e-3
    outside = [abs(check.error(check.outside) or 0) for check in checks]
    assert max(outside) < 0.01


def test_a_point_left_out_is_not_fitted() -> None:
    wrong = _synthetic()
    wrong = [replace(p, median=2 * p.median) if p.link == "200mbit" and p.method != "none" else p for p in wrong]
    checks = [check for check in fit.check(wrong)[1] if check.point.link == "200mbit"]
    # Without these points the truth is found, which is half of what they say.
    for check in checks:
        assert check.error(check.outside) == pytest.approx(-0.5, abs=0.01)


def test_one_setting_alone_is_not_checked_outside() -> None:
    alone = [point for point in _synthetic() if point.link == "200mbit"]
    costs, checks = fit.check(alone)
    assert all(check.outside is None for check in checks)
    assert "nan" in model.check_table(costs, checks)  # and not a made-up number


def test_points_lack_their_compute_time() -> None:
    with pytest.raises(ValueError, match="no point of method none with 8 ranks and batch 32"):
        fit.check([p for p in _synthetic() if not (p.ranks == 8 and p.batch == 32 and p.method == "none")])
    with pytest.raises(ValueError, match="not of contestants"):
        fit.check([replace(p, parameters=5) for p in _synthetic()])


def _write(path: Path, ranks: int) -> None:
    for point in _synthetic():
        points.add(path, [replace(point, ranks=ranks)])


def test_runs_write_into_one_file(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    some = _synthetic()
    points.add(path, some[:3])
    points.add(path, [replace(some[1], median=7.0), some[3]])
    assert points.read(path) == [some[0], replace(some[1], median=7.0), some[2], some[3]]
    processes = [mp.get_context("fork").Process(target=_write, args=(path, ranks)) for ranks in (10, 11)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    # Whatever the ranks there are 5 links; 2 batches, 7 methods, 2 numbers of ranks.
    assert len([point for point in points.read(path) if point.ranks >= 10]) == 5 * 2 * 7 * 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2, "points": []}', '{"format": 1, "points": [{"ranks": 2}]}'])
def test_another_file_is_an_error_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "points.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="no file of measured points"):
        points.add(path, _synthetic())
    assert path.read_text() == text


def test_the_bench_tells_its_settings() -> None:
    from benchmarks.compression.network import PARAMETERS as SIZE
    from benchmarks.compression.network import measured_points
    from benchmarks.compression.race import Turns

    slow, fast = (
        Turns([3.0, 1.0, 5.0], [1.0, 2.0, 3.0], [10, 20, 30], 7.0),
        Turns([2.0, 2.0, 2.0], [4.0] * 3, [40] * 3, 9.0),
    )
    (point,) = measured_points([{"fp16": slow}, {"fp16": fast}], "1gbit", (9e8, 8e8), 32, -5, KERNEL)
    assert (point.median, point.best, point.cpu, point.sent, point.payload) == (3.0, 2.0, 3.0, 30.0, 8.0)
    assert (point.ranks, point.link, point.goodput, point.both_ways, point.batch) == (2, "1gbit", 9e8, 8e8, 32)
    assert point.parameters == SIZE == sum((n + 1) * m for n, m in pairwise(WIDTHS)) == PARAMETERS


def test_colours_and_numbers() -> None:
    assert colour(1.0) == (255, 255, 255)
    assert colour(16.0) == colour(99.0) == (0, 90, 181)
    assert colour(1 / 16) == (204, 85, 0)
    assert [number(x) for x in (0.999, 1.004, 9.94, 9.96, 123.4, math.nan)] == [
        "0.99",
        "1.00",
        "9.94",
        "10.0",
        "123",
        "–",
    ]


@pytest.mark.parametrize("with_points", [False, True])
def test_the_command_says_that_it_is_a_model(tmp_path: Path, with_points: bool) -> None:
    command = [warm_python(), "-m", "benchmarks.compression.model", "--svg", str(tmp_path)]
    if with_points:
        points.add(tmp_path / "points.json", _synthetic())
        command += ["--points", str(tmp_path / "points.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("A MODEL, NOT A MEASUREMENT")
    assert done.stdout.count("\n 1,024 ") == 15
    assert ("error of 72 points, their setting (ranks and link) not fitted: median 0.0%" in done.stdout) == with_points
    assert ("not fitted; compute" in done.stdout) != with_points
    for name in ("cpu", "gpu1", "gpu8"):
        drawn = ElementTree.parse(tmp_path / f"{name}.svg").getroot()
        text = "".join(drawn.itertext())
        assert "A MODEL, NOT A MEASUREMENT" in text
        assert text.count("assumed") >= 2
        assert len(drawn.findall(".//{http://www.w3.org/2000/svg}rect")) == 1 + 10 * 8 * 10


def test_wrong_points_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text(json.dumps({"format": 1, "points": []}))
    command = [warm_python(), "-m", "benchmarks.compression.model", "--points", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "there is no point of a method that communicates\n"
