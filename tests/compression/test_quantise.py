from __future__ import annotations

import numpy as np
import pytest
import torch
from ludocast.compression import quantise as module
from ludocast.compression.quantise import Message, decode, quantise
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


def run(gradient: Tensor, residual: Tensor, rows: Rows) -> tuple[bool, Message, Tensor, Tensor]:
    """Whether all is finite, the message, what it decodes to and the next residual."""
    message, after, decoded = Message(rows), torch.full_like(residual, 7.0), torch.full_like(residual, 7.0)
    finite = quantise(gradient, residual, after, rows, message)
    if finite:
        decode(message, rows, decoded)
    return finite, message, decoded, after


def test_two_rows_by_hand(forced: str) -> None:
    rows = rows_of([5, 3])
    g = torch.tensor([1.0, -2.0, 3.0, -4.0, 2.0, 0.5, 1.5, 4.0])
    e = torch.tensor([0.0, 0.0, 1.0, -2.0, 0.0, 0.0, 0.0, 0.0])
    # c = 1 -2 4 -6 2 | 0.5 1.5 4: means -4 and 7/3 = 2.333 | none and 2
    finite, message, decoded, after = run(g, e, rows)
    assert finite
    assert message.bits[:2].tolist() == [0b10101, 0b111]
    assert len(message.buffer) == 64 + 2 * 4 + 2 + 6
    # 4 = 2^14 · 2^-12, 2 = 2^14 · 2^-13; 7/3 · 2^12 = 9557.33, fp16 has steps of 8 there: 9560
    assert message.values.tolist() == [[-16384.0, 9560.0], [0.0, 16384.0]]
    assert message.exponents.tolist() == [-12, -13]
    up = 9560 / 4096
    assert decoded.tolist() == [up, -4.0, up, -4.0, up, 2.0, 2.0, 2.0]
    assert torch.equal(after, torch.tensor([1 - up, 2, 4 - up, -2, 2 - up, -1.5, -0.5, 2]))
    decode(message, rows, decoded, scale=0.5, accumulate=True)
    assert decoded[1].item() == -6.0
    assert decoded[5].item() == 3.0
    decode(message, rows, decoded, scale=0.25)
    assert decoded[1].item() == -1.0


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
    torch.testing.assert_close(decoded.double(), g.double(), rtol=2.0**-11, atol=0.0 if abs(value) > 1e-43 else 1e-45)
    torch.testing.assert_close(decoded.double() + after.double(), g.double(), rtol=1e-6, atol=0.0)


def test_huge_and_tiny_in_one_row(forced: str) -> None:
    g = torch.tensor([3e38, 3.2e38, 3e38, -1e-30, -3e-30] * 40)
    finite, message, decoded, _after = run(g, torch.zeros(200), rows_of([200]))
    assert finite
    assert decoded[0].item() == pytest.approx(9.2e38 / 3, rel=5e-4)
    assert message.values[0, 0].item() == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("in_residual", [False, True])
def test_what_is_not_finite_is_seen_at_every_position(forced: str, bad: float, in_residual: bool) -> None:
    rows = rows_of([1, 15, 16, 17, 33, 64, 67])
    for position in range(rows.elements):
        pair = [torch.randn(rows.elements), torch.randn(rows.elements)]
        pair[in_residual][position] = bad
        before = pair[1].clone()
        assert not quantise(pair[0], pair[1], torch.empty(rows.elements), rows, Message(rows))
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
        assert quantise(flat[0], flat[1], flat[2], rows, wrapped)
        for ours, theirs in zip(wrapped.arrays(), message.arrays(), strict=True):
            count = rows.bytes if ours.dtype == np.uint8 else len(ours)
            assert ours[:count].tobytes() == theirs[:count].tobytes()
        assert flat[2].numpy().tobytes() == after.numpy().tobytes()
        decode(wrapped, rows, flat[0])
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


def test_ten_thousand_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant and finiteness against float64, bits against packbits, and every kernel against numpy, bit for bit."""
    draw = np.random.default_rng(0)
    for _ in range(10_000):
        g, e, rows = _random_case(draw)
        c = g + e
        monkeypatch.setenv("LUDOCAST_KERNEL", "numpy")
        finite, message, decoded, after = run(g, e, rows)
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
            other = run(g, e, rows)
            assert other[0] == finite
            if finite:
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
    finite, message, decoded, after = run(g, e, rows)
    assert finite
    total = decoded.double() + after.double()
    for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
        place = slice(start, start + length)
        torch.testing.assert_close(total[place], g[place].double() + e[place].double(), rtol=1e-6, atol=1e-6)
    added = decoded.clone()
    decode(message, rows, added, scale=0.3, accumulate=True)
    for name in KERNELS:
        monkeypatch.setenv("LUDOCAST_KERNEL", name)
        _, other, other_decoded, other_after = run(g, e, rows)
        assert torch.equal(other.buffer, message.buffer)
        assert torch.equal(other_decoded, decoded)
        assert torch.equal(other_after, after)
        in_place = e.clone()
        assert quantise(g, in_place, in_place, rows, other)
        assert torch.equal(other.buffer, message.buffer)
        for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
            assert torch.equal(in_place[start : start + length], after[start : start + length])
        decode(other, rows, other_decoded, scale=0.3, accumulate=True)
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
    received = [Message(rows) for _ in range(3)]
    monkeypatch.setenv("LUDOCAST_KERNEL", "numpy")
    total = g.float().clone()
    for one in received:
        assert quantise(torch.randn(rows.span), torch.zeros(rows.span), torch.zeros(rows.span), rows, one)
        decode(one, rows, total, accumulate=True)
    wanted, left = Message(rows, width=width), torch.zeros_like(e)
    assert quantise(total, e, left, rows, wanted)
    for name in KERNELS:
        monkeypatch.setenv("LUDOCAST_KERNEL", name)
        answer, after = Message(rows, width=width), torch.zeros_like(e)
        assert quantise(g, e, after, rows, answer, received)
        assert torch.equal(answer.buffer, wanted.buffer)
        assert torch.equal(after, left)
    if dtype == torch.float32:  # over the gradient, as where the bucket is needed no longer
        assert quantise(g, e, g, rows, answer, received)
        assert torch.equal(answer.buffer, wanted.buffer)
        for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
            assert torch.equal(g[start : start + length], left[start : start + length])


def test_means_are_those_of_float64(forced: str) -> None:
    torch.manual_seed(1)
    g = torch.randn(2048)
    _, message, _, _ = run(g, torch.zeros(2048), rows_of([2048]))
    got = message.values.double() * 2.0 ** message.exponents.double()[:, None]
    wanted = torch.stack([g[g < 0].double().mean(), g[g >= 0].double().mean()])
    torch.testing.assert_close(got[0], wanted, rtol=2.0**-11, atol=0.0)


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
        quantise(good.double(), good, good, rows, message)
    with pytest.raises(ValueError, match="4 elements or more"):
        decode(message, rows, torch.zeros(3))
    with pytest.raises(ValueError, match="differ in length"):
        quantise(good, torch.zeros(5), good, rows, message)
    with pytest.raises(ValueError, match="1, 4 or 8 bits, got 2"):
        Message(rows, width=2)
    with pytest.raises(ValueError, match="of other rows"):
        decode(message, rows_of([4, 3]), torch.zeros(7))


def test_a_kernel_that_is_not_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUDOCAST_KERNEL", "sse9")
    with pytest.raises(ValueError, match=r"LUDOCAST_KERNEL=sse9: here run .*numpy"):
        module.kernel()
