from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Triton decides at its import whether it interprets, so this runs in a process of its own.
CODE = """
import numpy as np, torch
from ludocast.compression import triton_kernels as tk
from ludocast.compression.quantise import Message, decode, quantise
from ludocast.compression.rows import Rows

torch.manual_seed(0)
rows = Rows.of_parameters([(3, 100), (2, 513), (1,), (16,), (7,)], [0, 301, 1328, 1330, 1347], target=256)
for case in range(12):
    g, e = torch.randn(rows.span), torch.randn(rows.span)
    if case % 4 == 1:
        g, e = g * 1e-40, e * 1e-41
    if case % 4 == 2:
        g[::3], e[::3], g[1::7] = 3e38, 1.0, -0.0
    if case % 4 == 3:
        g = g.bfloat16()
        e[100:200] = 0
    c = g.float() + e
    ours, theirs = Message(rows), Message(rows)
    after, other = torch.full_like(e, 7), torch.full_like(e, 7)
    assert tk.quantise(g, e, after, rows, ours) and quantise(g, e, other, rows, theirs)

    parts = [c[s : s + n].numpy() >= 0 for s, n in zip(rows.start.tolist(), rows.length.tolist())]
    wanted = np.concatenate([np.packbits(part, bitorder="little") for part in parts])
    assert ours.bits[: rows.bytes].numpy().tobytes() == wanted.tobytes()
    assert torch.equal(ours.bits, theirs.bits)

    # fp16's last bit may differ, for another order of summation; the residual is of the values sent, to the bit.
    decoded, expected = torch.full_like(e, 7), torch.full_like(e, 7)
    decode(ours, rows, decoded)
    decode(theirs, rows, expected)
    torch.testing.assert_close(decoded, expected, rtol=2**-10, atol=1e-44)
    inside = torch.zeros(rows.span, dtype=torch.bool)
    for s, n in zip(rows.start.tolist(), rows.length.tolist()):
        inside[s : s + n] = True
    assert torch.equal(after[inside], (c - decoded)[inside]) and bool((after[~inside] == 7).all())

    for scale, accumulate in ((1.0, False), (1 / 3, False), (-0.7, True), (0.0, False)):
        here, there = torch.ones_like(e), torch.ones_like(e)
        tk.decode(ours, rows, here, scale, accumulate)
        decode(ours, rows, there, scale, accumulate)
        assert here.numpy().tobytes() == there.numpy().tobytes(), (case, scale)

# The owner's step in one pass is decode and quantise one after another, to the bit.
apart = torch.zeros(5 * Message.size(rows) + 5 * 64, dtype=torch.uint8)
for case in range(12):
    count, share = (0, 1, 3, 4)[case % 4], (1.0, 1 / 2, 1 / 3, 1.0)[case % 4]
    g, e = torch.randn(rows.span), torch.randn(rows.span) * 0.3
    if case in (5, 6):
        g, e = g * 1e-40, e * 1e-40
    if case >= 8:
        g = g.bfloat16()  # none of its subnormal ones, which Triton's interpreter reads as other numbers
    received = []
    for k in range(count):
        at = (3 * k + 1) % 5 * (Message.size(rows) + 64)  # neither in order nor behind one another
        received.append(Message(rows, apart[at : at + Message.size(rows)]))
        assert quantise(torch.randn(rows.span) * 10.0 ** -(case + k), e, torch.zeros_like(e), rows, received[-1])
    sum_ = g.float() * share
    for one in received:
        decode(one, rows, sum_, share, accumulate=True)
    ours, theirs, cpus = Message(rows), Message(rows), Message(rows)
    after, other, third = (torch.full_like(e, 7) for _ in range(3))
    assert tk.owner_step(g, e, after, rows, received, share, ours)
    assert tk.quantise(sum_, e, other, rows, theirs)
    assert torch.equal(ours.buffer, theirs.buffer) and after.numpy().tobytes() == other.numpy().tobytes(), case
    # Beside the CPU's: the same bits, fp16's last one of a value at most, and the residual of the values sent.
    assert quantise(*((g, e, third, rows, cpus, received) if share == 1 else (sum_, e, third, rows, cpus)))
    assert torch.equal(ours.bits, cpus.bits)
    decoded, expected = torch.full_like(e, 7), torch.full_like(e, 7)
    decode(ours, rows, decoded)
    decode(cpus, rows, expected)
    torch.testing.assert_close(decoded, expected, rtol=2**-10, atol=1e-44)
    assert torch.equal(after[inside], (sum_ + e - decoded)[inside]) and bool((after[~inside] == 7).all())
    over = g.float()  # the next residual may take the gradient's place
    assert tk.owner_step(over, e, over, rows, received, share, theirs)
    assert torch.equal(theirs.buffer, ours.buffer) and torch.equal(over[inside], after[inside])
    g[301] = float("inf")
    assert not tk.owner_step(g, e, after, rows, received, share, ours)

for wide in (4, 8):
    for act in (
        lambda: tk.quantise(g, e, after, rows, Message(rows, width=wide)),
        lambda: tk.decode(Message(rows, width=wide), rows, after, 1.0, False),
        lambda: tk.owner_step(g, e, after, rows, [], 1.0, Message(rows, width=wide)),
    ):
        try:
            act()
        except ValueError as error:
            assert f"1 bit, got {wide}" in str(error)
        else:
            raise AssertionError("written as 1 bit")

for bad in (float("nan"), float("inf"), float("-inf")):
    for position in (0, 255, 301, 1000, 1328, 1353):
        g = torch.randn(rows.span)
        g[position] = bad
        assert not tk.quantise(g, torch.zeros(rows.span), torch.zeros(rows.span), rows, Message(rows)), position
huge = torch.full((rows.span,), 3e38)
assert not tk.quantise(huge, huge, torch.zeros(rows.span), rows, Message(rows))
assert tk.quantise(huge, -huge, torch.zeros(rows.span), rows, Message(rows))
print("the same")
"""


# What is interpreted need not compile; that needs no GPU.
COMPILE = """
import triton
from ludocast.compression import triton_kernels as tk
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

rows = dict(start_ptr="*i64", length_ptr="*i64", byte_ptr="*i64")
message = dict(bits_ptr="*u8", values_ptr="*fp16", exponents_ptr="*i8")
for dtype in ("*fp32", "*bf16"):
    types = dict(g_ptr=dtype, e_ptr="*fp32", next_ptr="*fp32", **rows, **message, bad_ptr="*i32", BLOCK="constexpr")
    source = ASTSource(tk._quantise, types, {(10,): 2048})
    triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    got = dict(got_ptr="*u8", offset_ptr="*i64", values_at="i64", exponents_at="i64", count="i32", share_bits="i64")
    types = dict(
        g_ptr=dtype, e_ptr="*fp32", next_ptr="*fp32", **rows, **got, **message, bad_ptr="*i32", BLOCK="constexpr"
    )
    source = ASTSource(tk._owner_step, types, {(16,): 2048})
    options = {"num_warps": 8, "enable_fp_fusion": False}
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
    assert "fma.rn.f32" not in ptx
types = dict(**rows, **message, out_ptr="*fp32", scale_bits="i64", ACCUMULATE="constexpr", BLOCK="constexpr")
source = ASTSource(tk._decode, types, {(8,): True, (9,): 2048})
triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
print("compiled")
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="needs triton, which CPU builds of torch do not bring: pip install triton (1 GB)",
)


def _run(code: str, **environment: str) -> str:
    variables = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_interpreted_kernels_write_the_same_bits() -> None:
    assert _run(CODE, TRITON_INTERPRET="1") == "the same\n"


def test_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    assert _run(COMPILE, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path)) == "compiled\n"
