from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from ludocast.compression import quantise as module
from ludocast.compression.quantise import FRESH, Message, Steps, decode, learn, quantise
from ludocast.compression.rows import Rows
from torch import Tensor

KERNELS = module.available()


@pytest.fixture(params=KERNELS)
def forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LUDOCAST_KERNEL", request.param)
    return str(request.param)


def rows_of(lengths: list[int]) -> Rows:
    size = torch.tensor(lengths, dtype=torch.int64)
    packed = (size + 7) // 8
    start, byte = size.cumsum(0) - size, packed.cumsum(0) - packed
    return Rows(start, size, byte, int(size.sum()), int(packed.sum()))


def run(
    gradient: Tensor, residual: Tensor, rows: Rows, known: Steps | None = None
) -> tuple[bool, Message, Tensor, Tensor]:
    """Whether all is finite, the message, what it decodes to and the next residual."""
    message, after, decoded = Message(rows), torch.full_like(residual, 7.0), torch.full_like(residual, 7.0)
    steps = Steps(rows) if known is None else known
    finite = quantise(gradient, residual, after, rows, message, steps)
    if finite:
        decode(message, rows, decoded, steps=steps)
    return finite, message, decoded, after


def random_steps(rows: Rows, draw: np.random.Generator) -> Steps:
    """Any levels and last signs; rows that are new and rows that are not."""
    steps = Steps(rows)
    steps.step.copy_(torch.from_numpy(draw.integers(0, 256, len(steps.step), dtype=np.uint8)))
    means = np.exp2(draw.uniform(-160, 130, (len(rows), 3)))
    means[:, 1:] = draw.uniform(1, 127, (len(rows), 2))
    steps.means.copy_(torch.from_numpy(means * (draw.random((len(rows), 1)) < 0.5)))
    return steps


def test_two_rows_by_hand(forced: str) -> None:
    rows = rows_of([5, 3])
    g = torch.tensor([1.0, -2.0, 3.0, -4.0, 2.0, 0.5, 1.5, 4.0])
    e = torch.tensor([0.0, 0.0, 1.0, -2.0, 0.0, 0.0, 0.0, 0.0])
    # c = 1 -2 4 -6 2 | 0.5 1.5 4: the means of their magnitudes are 3 and 2
    steps = Steps(rows)
    finite, message, decoded, after = run(g, e, rows, steps)
    assert finite
    assert message.bits[:2].tolist() == [0b10101, 0b111]
    assert len(message.buffer) == 64 + 2 * 2 + 2 + 2
    # 3 = 24576 · 2^-13, 2 = 2^14 · 2^-13
    assert message.values.tolist() == [[24576.0], [16384.0]]
    assert message.exponents.tolist() == [-13, -13]
    assert decoded.tolist() == [3.0, -3.0, 3.0, -3.0, 3.0, 2.0, 2.0, 2.0]
    assert after.tolist() == [-2.0, 1.0, 1.0, -3.0, -1.0, -1.5, -0.5, 2.0]
    decode(message, rows, decoded, scale=0.5, accumulate=True, steps=steps)
    assert decoded[1].item() == -4.5
    assert decoded[5].item() == 3.0

    steps.commit()
    torch.testing.assert_close(
        steps.means, torch.tensor([[3.0, 1.0, 64.0], [2.0, 1.0, 64.0]]).double(), rtol=1e-15, atol=0
    )
    learn(message, rows, steps)
    # A new step counts as one whose last sign was below zero.
    down, up = FRESH - 1 | 128, FRESH + 1
    assert steps.step[:5].tolist() == [down, up, down, up, down]
    assert steps.step[8:11].tolist() == [down] * 3
    other = Steps(rows)
    decode(message, rows, decoded, scale=0.25, steps=other, learning=True)
    assert decoded[1].item() == -0.75
    assert torch.equal(other.step, steps.step)
    # The value is what the steps before asked for, and the sizes are an eighth of an octave from 1.
    _, message, decoded, _ = run(g, e, rows, steps)
    assert message.values.tolist() == [[24576.0], [16384.0]]
    shrunk, grown = (float(np.float32(2.0**x)) for x in (-1 / 8, 1 / 8))
    assert decoded[:2].tolist() == [float(np.float32(3 * shrunk)), float(np.float32(-3 * grown))]
    assert decoded[5].item() == 2 * shrunk
    learn(message, rows, steps)  # the same signs again
    assert steps.step[:5].tolist() == [FRESH | 128, FRESH + 2, FRESH | 128, FRESH + 2, FRESH | 128]
    # mean(|c| · size), mean(size²) and mean(level) of the second step, remembered by 2 %.
    size = np.array([shrunk, grown, shrunk, grown, shrunk])
    mean = 0.98 * 3 + 0.02 * (np.abs([1, -2, 4, -6, 2]) * size).mean()
    np.testing.assert_allclose(
        steps.next_means[0].numpy(), [mean, 0.98 + 0.02 * (size**2).mean(), 0.98 * 64 + 0.02 * 63.8], rtol=1e-6
    )


def test_levels_stay_within_their_byte(forced: str) -> None:
    rows = rows_of([40])
    message, steps = Message(rows), Steps(rows)
    for _ in range(200):
        learn(message, rows, steps)  # below zero each time
    assert steps.step.tolist() == [127] * 40
    for k in range(200):
        message.bits.fill_(255 * (k % 2))
        learn(message, rows, steps)
    assert set(steps.step.tolist()) == {128}


def test_a_step_finds_the_size_that_a_constant_needs(forced: str) -> None:
    """Elements of one row that differ by a factor of a thousand: each is decoded to its own mean."""
    rows = rows_of([1024])
    g = torch.logspace(-3, 0, 64).repeat(16) * torch.where(torch.arange(1024) % 2 == 0, 1.0, -1.0)
    steps, message, e, after = Steps(rows), Message(rows), torch.zeros(1024), torch.zeros(1024)
    decoded, total = torch.zeros(1024), torch.zeros(1024, dtype=torch.float64)
    for step in range(3_000):
        assert quantise(g, e, after, rows, message, steps)
        e, after = after, e
        decode(message, rows, decoded, steps=steps, learning=True)
        steps.commit()
        total += decoded.double() if step >= 2_000 else 0
    assert float(((total / 1_000 - g) / g).abs().max()) < 0.02
    assert float((decoded / g).abs().max()) < 8  # one value a row would be 140 times the smallest element
    assert 40 < float((steps.step & 127).double().mean()) < 110


def test_zeros_of_both_signs(forced: str) -> None:
    finite, message, decoded, after = run(torch.tensor([-0.0, 0.0, -0.0]), torch.tensor([-0.0, 0.0, 0.0]), rows_of([3]))
    assert finite
    assert message.bits[0].item() == 0b111
    assert message.exponents.tolist() == [0]
    assert decoded.tolist() == after.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("value", [1e-45, -1e-45, 1e-40, -3e-39, 1.1754944e-38, 1.0, 3e38, -3e38, 2.0**128 - 2.0**104])
def test_one_value_a_row_at_the_ends_of_float32(forced: str, value: float) -> None:
    g = torch.full((100,), value)
    finite, _message, decoded, after = run(g, torch.zeros(100), rows_of([1, 99]))
    assert finite
    assert bool(torch.isfinite(decoded).all())
    # Above 2^119 the value is at its end: all sizes of its steps have to be finite.
    wanted = g.double().clamp(-(2.0**119), 2.0**119)
    torch.testing.assert_close(decoded.double(), wanted, rtol=2.0**-10, atol=0.0 if abs(value) > 1e-43 else 1e-45)
    torch.testing.assert_close(decoded.double() + after.double(), g.double(), rtol=1e-6, atol=0.0)


def test_huge_and_tiny_in_one_row(forced: str) -> None:
    g = torch.tensor([3e38, 3.2e38, 3e38, -1e-30, -3e-30] * 40)
    finite, _message, decoded, after = run(g, torch.zeros(200), rows_of([200]))
    assert finite
    assert bool((decoded.isfinite() & after.isfinite()).all())
    torch.testing.assert_close(decoded.double() + after.double(), g.double(), rtol=0, atol=1e32)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("in_residual", [False, True])
def test_what_is_not_finite_is_seen_at_every_position(forced: str, bad: float, in_residual: bool) -> None:
    rows = rows_of([1, 15, 16, 17, 33, 64, 67])
    for position in range(rows.elements):
        pair = [torch.randn(rows.elements), torch.randn(rows.elements)]
        pair[in_residual][position] = bad
        before = pair[1].clone()
        assert not quantise(pair[0], pair[1], torch.empty(rows.elements), rows, Message(rows), Steps(rows))
        assert pair[1].numpy().tobytes() == before.numpy().tobytes()


def test_a_sum_of_two_finite_values_may_be_infinite(forced: str) -> None:
    huge = torch.full((20,), 3e38)
    assert not run(huge, huge, rows_of([20]))[0]
    assert run(huge, -huge, rows_of([20]))[0]


def test_wrapped_buffers_at_every_offset(forced: str) -> None:
    rows = rows_of([37, 129, 1])
    g, e = torch.randn(167), torch.randn(167)
    _, message, decoded, after = run(g, e, rows)
    size = Message.size(rows)
    for offset in range(9):
        wrapped = Message(rows, torch.full((size + 16,), 255, dtype=torch.uint8)[offset : offset + size])
        flat = torch.zeros(3, 200)[:, offset : offset + 167]
        flat[0], flat[1] = g, e
        assert quantise(flat[0], flat[1], flat[2], rows, wrapped, Steps(rows))
        for ours, theirs in zip(wrapped.arrays(), message.arrays(), strict=True):
            count = rows.bytes if ours.dtype == np.uint8 else len(ours)
            assert ours[:count].tobytes() == theirs[:count].tobytes()
        assert flat[2].numpy().tobytes() == after.numpy().tobytes()
        decode(wrapped, rows, flat[0], steps=Steps(rows))
        assert flat[0].numpy().tobytes() == decoded.numpy().tobytes()


def test_bfloat16_is_as_its_float32(forced: str) -> None:
    rows = rows_of([5, 300, 64])
    g, e = torch.randn(369).bfloat16(), torch.randn(369)
    (_, half, _, after), (_, full, _, expected) = run(g, e, rows), run(g.float(), e, rows)
    assert torch.equal(half.buffer, full.buffer)
    assert torch.equal(after, expected)


def test_gaps_between_rows_stay_untouched(forced: str) -> None:
    rows = Rows.of_parameters([(3,), (2,)], [1, 6])
    g = torch.tensor([9.0, 1, 1, 1, float("nan"), 9, -1, -1, 9])
    finite, _, decoded, after = run(g, torch.zeros(9), rows)
    assert finite
    assert decoded.tolist() == [7.0, 1, 1, 1, 7, 7, -1, -1, 7]
    assert after.tolist() == [7.0, 0, 0, 0, 7, 7, 0, 0, 7]


def test_a_slice_writes_the_same_as_the_whole(forced: str) -> None:
    rows = Rows.of_parameters([(5, 333), (40,)], [0, 1665], target=300)
    g, e = torch.randn(1705), torch.zeros(1705)
    _, whole, _, _ = run(g, e, rows)
    part = rows.slice(2, 5)
    begin = int(rows.start[2])
    _, message, _, _ = run(g[begin : begin + part.span], e[begin : begin + part.span], part)
    first = int(rows.byte[2])
    assert torch.equal(message.bits[: part.bytes], whole.bits[first : first + part.bytes])
    assert torch.equal(message.values, whole.values[2:5])


def _random_case(draw: np.random.Generator) -> tuple[Tensor, Tensor, Rows]:
    rows = rows_of(draw.integers(1, 70, size=int(draw.integers(1, 4))).tolist())
    exponent = draw.choice(np.array([-149.0, -126.0, -60.0, -10.0, 0.0, 0.0, 60.0, 125.0]), size=(2, 1))
    pair = draw.standard_normal((2, rows.elements)) * np.exp2(exponent)
    some = draw.random(pair.shape) < 0.1
    pair[some] = draw.choice(np.array([0.0, -0.0, 1e-45, -1e-40, 3e38, -3e38]), size=some.sum())
    if draw.random() < 0.1:
        pair[draw.random(pair.shape) < 0.05] = draw.choice(np.array([np.nan, np.inf, -np.inf]))
    g, e = torch.from_numpy(pair.astype(np.float32)).clone()
    return g.clone(), e.clone(), rows


@pytest.mark.parametrize(
    ("seed", "cases"), [(0, 2_000), pytest.param(1, 10_000, marks=pytest.mark.slow)], ids=["some", "ten thousand"]
)
def test_random_cases(monkeypatch: pytest.MonkeyPatch, seed: int, cases: int) -> None:
    """Invariant and finiteness against float64, bits against packbits, and every kernel against numpy, bit for bit."""
    draw = np.random.default_rng(seed)
    for _ in range(cases):
        g, e, rows = _random_case(draw)
        c = g + e
        monkeypatch.setenv("LUDOCAST_KERNEL", "numpy")
        steps = random_steps(rows, draw)
        finite, message, decoded, after = run(g, e, rows, steps)
        means = steps.next_means.clone()
        learn(message, rows, learnt := copy.deepcopy(steps))
        assert finite == bool(torch.isfinite(c).all())
        if finite:
            assert bool(torch.isfinite(decoded).all() & torch.isfinite(after).all())
            error = (decoded.double() + after.double() - g.double() - e.double()).abs()
            # One rounding of g + e and one of c - decoded, whose size a row's huge values give.
            assert bool((error <= 1e-6 * (g.double().abs() + e.double().abs() + decoded.double().abs())).all())
            parts = np.split(c.numpy(), rows.length.cumsum(0).numpy()[:-1])
            bits = [np.packbits(part >= 0, bitorder="little") for part in parts]
            assert message.bits[: rows.bytes].numpy().tobytes() == np.concatenate(bits).tobytes()
        for name in KERNELS[:-1]:
            monkeypatch.setenv("LUDOCAST_KERNEL", name)
            mine = copy.deepcopy(steps)
            other = run(g, e, rows, mine)
            assert other[0] == finite
            if finite:
                assert torch.equal(mine.next_means, means)
                learn(other[1], rows, mine)
                assert torch.equal(mine.step, learnt.step)
                assert torch.equal(other[1].buffer, message.buffer)
                assert other[2].numpy().tobytes() == decoded.numpy().tobytes()
                assert other[3].numpy().tobytes() == after.numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_bucket_is_the_same_in_every_kernel(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """Large enough for the stores that bypass the cache."""
    rows = Rows.of_parameters([(700, 1000), (500, 2049), (3, 5001)], [3, 700_005, 1_724_505])
    torch.manual_seed(0)
    g, e = torch.randn(rows.span).to(dtype), torch.randn(rows.span)
    monkeypatch.setenv("LUDOCAST_KERNEL", "numpy")
    steps = random_steps(rows, np.random.default_rng(0))
    steps.means.zero_()
    finite, message, decoded, after = run(g, e, rows, steps)
    assert finite
    total = decoded.double() + after.double()
    for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
        place = slice(start, start + length)
        torch.testing.assert_close(total[place], g[place].double() + e[place].double(), rtol=1e-6, atol=1e-6)
    added = decoded.clone()
    decode(message, rows, added, scale=0.3, accumulate=True, steps=steps)
    learnt = copy.deepcopy(steps)
    learn(message, rows, learnt)
    for name in KERNELS:
        monkeypatch.setenv("LUDOCAST_KERNEL", name)
        mine = copy.deepcopy(steps)
        _, other, other_decoded, other_after = run(g, e, rows, mine)
        assert torch.equal(other.buffer, message.buffer)
        assert torch.equal(other_decoded, decoded)
        assert torch.equal(other_after, after)
        in_place = e.clone()
        assert quantise(g, in_place, in_place, rows, other, mine)
        assert torch.equal(other.buffer, message.buffer)
        for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
            assert torch.equal(in_place[start : start + length], after[start : start + length])
        decode(other, rows, other_decoded, scale=0.3, accumulate=True, steps=mine, learning=True)
        assert torch.equal(mine.step, learnt.step)
        assert torch.equal(other_decoded, added)


def test_levels_by_hand(forced: str) -> None:
    rows = rows_of([5, 3])
    g = torch.tensor([7.0, -3.4, 2.5, -7.0, 0.4, 0.0, 0.0, 0.0])
    message, after, decoded = Message(rows, width=4), torch.zeros(8), torch.zeros(8)
    assert quantise(g, torch.zeros(8), after, rows, message)
    decode(message, rows, decoded)
    # The distance of two levels is 7 / 7 = 1; a tie goes to the even level.
    assert decoded.tolist() == [7.0, -3.0, 2.0, -7.0, 0.0, 0.0, 0.0, 0.0]
    torch.testing.assert_close(after, g - decoded, rtol=0, atol=0)
    assert message.bits[:3].tolist() == [14 | 4 << 4, 9 | 0 << 4, 7]
    assert len(message.buffer) == 64 + 2 * 2 + 2 + 2


@pytest.mark.parametrize("width", [4, 8])
def test_levels_are_the_same_in_every_kernel_and_near(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    draw = np.random.default_rng(1)
    top = {4: 7, 8: 127}[width]
    for _ in range(2_000):
        g, e, rows = _random_case(draw)
        c = g + e
        found = {}
        for name in KERNELS:
            monkeypatch.setenv("LUDOCAST_KERNEL", name)
            message, after, decoded = Message(rows, width=width), torch.zeros_like(e), torch.zeros_like(e)
            finite = quantise(g, e, after, rows, message)
            assert finite == bool(torch.isfinite(c).all())
            if finite:
                decode(message, rows, decoded)
                found[name] = tuple(x.numpy().tobytes() for x in (message.buffer, after, decoded))
        if not finite:
            continue
        assert len(set(found.values())) == 1
        assert bool(torch.isfinite(decoded).all() & torch.isfinite(after).all())
        error = (decoded.double() + after.double() - c.double()).abs()
        assert bool((error <= 1e-6 * (c.double().abs() + decoded.double().abs())).all())
        for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
            row = c[start : start + length].double()
            half_step = 0.5 * float(row.abs().max()) / top
            far = (decoded[start : start + length].double() - row).abs().max()
            # Where 1 / distance overflows, nothing is sent.
            assert float(far) <= max(half_step * (1 + top * 2.0**-10), top * 2.0**-127)


@pytest.mark.parametrize("width", [1, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_received_is_added_in_order(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, width: int) -> None:
    rows = Rows.of_parameters([(70, 1000), (5, 2049), (3, 501)], [3, 70_005, 80_255])
    torch.manual_seed(0)
    g, e = torch.randn(rows.span).to(dtype), torch.randn(rows.span)
    draw = np.random.default_rng(0)
    received = [(Message(rows), random_steps(rows, draw)) for _ in range(3)]
    steps = None if width > 1 else Steps(rows)
    monkeypatch.setenv("LUDOCAST_KERNEL", "numpy")
    total = g.float().clone()
    for one, its in received:
        its.means.zero_()
        assert quantise(torch.randn(rows.span), torch.zeros(rows.span), torch.zeros(rows.span), rows, one, its)
        decode(one, rows, total, accumulate=True, steps=its)
    wanted, left = Message(rows, width=width), torch.zeros_like(e)
    assert quantise(total, e, left, rows, wanted, steps)
    for name in KERNELS:
        monkeypatch.setenv("LUDOCAST_KERNEL", name)
        answer, after = Message(rows, width=width), torch.zeros_like(e)
        assert quantise(g, e, after, rows, answer, steps, received)
        assert torch.equal(answer.buffer, wanted.buffer)
        assert torch.equal(after, left)
    if dtype == torch.float32:  # over the gradient, as where the bucket is needed no longer
        assert quantise(g, e, g, rows, answer, steps, received)
        assert torch.equal(answer.buffer, wanted.buffer)
        for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
            assert torch.equal(g[start : start + length], left[start : start + length])


def test_means_are_those_of_float64(forced: str) -> None:
    torch.manual_seed(1)
    g = torch.randn(2048)
    _, message, _, _ = run(g, torch.zeros(2048), rows_of([2048]))
    got = message.values.double() * 2.0 ** message.exponents.double()[:, None]
    sample = torch.stack([g[64 * k + 16 * (k % 4) :][:16] for k in range(32)])  # one in four 16 elements
    torch.testing.assert_close(got[0, 0], sample.double().abs().mean(), rtol=2.0**-11, atol=0.0)


def test_no_rows(forced: str) -> None:
    rows = rows_of([])
    assert Message.size(rows) == 0
    assert run(torch.zeros(4), torch.zeros(4), rows)[0]


def test_what_does_not_fit_is_said() -> None:
    rows = rows_of([4])
    good, message = torch.zeros(4), Message(rows)
    with pytest.raises(ValueError, match="72 contiguous uint8 values"):
        Message(rows, torch.zeros(71, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"float64\[4\]"):
        quantise(good.double(), good, good, rows, message, Steps(rows))
    with pytest.raises(ValueError, match="4 elements or more"):
        decode(message, rows, torch.zeros(3), steps=Steps(rows))
    with pytest.raises(ValueError, match="differ in length"):
        quantise(good, torch.zeros(5), good, rows, message, Steps(rows))
    for width, steps in ((1, None), (8, Steps(rows))):
        with pytest.raises(ValueError, match=f"steps belong to 1 bit a value, and only to it; the message has {width}"):
            quantise(good, good, good, rows, Message(rows, width=width), steps)
    with pytest.raises(ValueError, match="the steps are of other rows: 16 bytes, 8 are needed"):
        learn(message, rows, Steps(rows_of([4, 3])))
    with pytest.raises(ValueError, match="1, 4 or 8 bits, got 2"):
        Message(rows, width=2)
    with pytest.raises(ValueError, match="the message is of other rows"):
        decode(message, rows_of([600]), torch.zeros(600), steps=Steps(rows_of([600])))


def test_a_kernel_that_is_not_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUDOCAST_KERNEL", "sse9")
    with pytest.raises(ValueError, match=r"LUDOCAST_KERNEL=sse9: here run .*numpy"):
        module.kernel()
