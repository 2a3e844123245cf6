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
import copy
import numpy as np, torch
from ludocast.compression import triton_kernels as tk
from ludocast.compression.quantise import Message, Steps, decode, learn, quantise
from ludocast.compression.rows import Rows

torch.manual_seed(0)
draw = np.random.default_rng(0)
rows = Rows.of_parameters([(3, 100), (2, 513), (1,), (16,), (7,)], [0, 301, 1328, 1330, 1347], target=256)
size = Message.size(rows)
places = [slice(s, s + n) for s, n in zip(rows.start.tolist(), rows.length.tolist())]
inside = torch.zeros(rows.span, dtype=torch.bool)
for place in places:
    inside[place] = True
coded = torch.cat([torch.arange(8 * b, 8 * b + n) for b, n in zip(rows.byte.tolist(), rows.length.tolist())])

def steps_of(*, known):
    # Any levels and last signs; of the rows, every second one is known from before, or none.
    steps = Steps(rows)
    steps.step.copy_(torch.from_numpy(draw.integers(0, 256, len(steps.step), dtype=np.uint8)))
    means = draw.uniform(1, 127, (len(rows), 3)) * (np.arange(len(rows)) % 2 == 0)[:, None] * known
    steps.means.copy_(torch.from_numpy(means))
    return steps

def same(one, other):
    return one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()

apart = torch.zeros(5 * (size + 64), dtype=torch.uint8)
for case in range(24):
    g, e = torch.randn(rows.span), torch.randn(rows.span) * 0.3
    if case % 4 == 1:
        g, e = g * 1e-40, e * 1e-41
    if case % 4 == 2:
        g[::3], e[::3], g[1::7] = 3e38, 1.0, -0.0
    if case % 4 == 3:
        g = g.bfloat16()  # none of its subnormal ones, which Triton's interpreter reads as other numbers
        e[100:200] = 0
    received = []
    for k in range((0, 0, 0, 1, 3, 4)[case // 4]):
        at = (3 * k + 1) % 5 * (size + 64)  # neither in order nor behind one another
        theirs = Message(rows, apart[at : at + size]), steps_of(known=case % 8 > 3)
        given = torch.randn(rows.span) * 10.0 ** -(case + k)
        assert quantise(given, e * 0.1, torch.zeros_like(e), rows, *theirs)
        received.append(theirs)
    c = g.float().clone()
    for one, its in received:
        decode(one, rows, c, accumulate=True, steps=its)
    c += e
    ours, theirs = Message(rows), Message(rows)
    steps = steps_of(known=case % 2 == 0)
    others, before = copy.deepcopy(steps), copy.deepcopy(steps)
    after, other = torch.full_like(e, 7), torch.full_like(e, 7)
    assert tk.quantise(g, e, after, rows, ours, steps, received)
    assert quantise(g, e, other, rows, theirs, others, received)
    assert same(steps.step, before.step) and same(steps.means, before.means)

    packed = [np.packbits(c[place].numpy() >= 0, bitorder="little") for place in places]
    assert ours.bits[: rows.bytes].numpy().tobytes() == np.concatenate(packed).tobytes()
    assert torch.equal(ours.bits, theirs.bits)
    # Another order of summation: float32's last bits of the means and fp16's of a value; levels are integers.
    assert torch.equal(steps.next_means[:, 2], others.next_means[:, 2])
    torch.testing.assert_close(steps.next_means, others.next_means, rtol=1e-5, atol=0)
    decoded, expected = torch.full_like(e, 7), torch.full_like(e, 7)
    decode(ours, rows, decoded, steps=steps)
    decode(theirs, rows, expected, steps=steps)
    torch.testing.assert_close(decoded, expected, rtol=2**-10, atol=1e-44)
    # The residual is of the values sent, to the bit.
    assert torch.equal(after[inside], (c - decoded)[inside]) and bool((after[~inside] == 7).all())
    # Rows known from before have values that no order of summation enters.
    if case % 2 == 0:
        assert same(ours.values[::2], theirs.values[::2]) and same(ours.exponents[::2], theirs.exponents[::2])
        for place in places[::2]:
            assert same(after[place], other[place])
    if case % 4 != 3:  # the next residual may take the gradient's place
        over = g.clone()
        assert tk.quantise(over, e, over, rows, theirs, steps, received)
        assert torch.equal(theirs.buffer, ours.buffer) and torch.equal(over[inside], after[inside])

    for scale, accumulate, learning in ((1.0, False, True), (1 / 3, False, False), (-0.7, True, True)):
        here, there = torch.ones_like(e), torch.ones_like(e)
        mine, its = copy.deepcopy(steps), copy.deepcopy(steps)
        tk.decode(ours, rows, here, scale, accumulate, mine, learning)
        decode(ours, rows, there, scale, accumulate, its, learning)
        assert same(here, there) and same(mine.step[coded], its.step[coded]), (case, scale)
        assert learning != same(mine.step, steps.step)
    tk.learn(ours, rows, steps)
    learn(ours, rows, others)
    assert same(steps.step[coded], others.step[coded])
    g[301] = float("inf")
    assert not tk.quantise(g, e, after, rows, ours, steps, received)

# Twenty steps, each end's state its own: a value's last bit moves a residual by a thousandth of a step, which turns a
# sign only where a residual is that near to zero.
ours, theirs, sent, wanted = Message(rows), Message(rows), torch.zeros(rows.span), torch.zeros(rows.span)
steps, others = Steps(rows), Steps(rows)
e, after, other_e, other_after, decoded = (torch.zeros(rows.span) for _ in range(5))
signal = torch.randn(rows.span)
for _ in range(20):
    g = signal + torch.randn(rows.span)
    assert tk.quantise(g, e, after, rows, ours, steps) and quantise(g, other_e, other_after, rows, theirs, others)
    tk.decode(ours, rows, sent, 1.0, True, steps, False)
    decode(theirs, rows, wanted, accumulate=True, steps=others)
    tk.learn(ours, rows, steps)
    learn(theirs, rows, others)
    steps.commit()
    others.commit()
    e, after, other_e, other_after = after, e, other_after, other_e
near = torch.isclose(sent[inside], wanted[inside], rtol=2**-7, atol=2**-7)
assert float(near.float().mean()) > 0.99
assert float((steps.step[coded] == others.step[coded]).float().mean()) > 0.99
torch.testing.assert_close(steps.means, others.means, rtol=2**-9, atol=0)

for wide in (4, 8):
    message = Message(rows, width=wide)
    for act in (
        lambda: tk.quantise(g, e, after, rows, message, None),
        lambda: tk.quantise(g, e, after, rows, ours, steps, [(message, steps)]),
        lambda: tk.decode(message, rows, after, 1.0, False, None, False),
        lambda: tk.learn(message, rows, steps),
    ):
        try:
            act()
        except ValueError as error:
            assert f"1 bit, got {wide}" in str(error)
        else:
            raise AssertionError("taken as 1 bit")

# Where its 16 elements enter the means and where they do not; rows new and known.
for bad in (float("nan"), float("inf"), float("-inf")):
    for position in [*range(0, 144, 13), 255, 301, 1000, 1328, 1330, 1345, 1347, 1353]:
        g = torch.randn(rows.span)
        g[position] = bad
        assert not tk.quantise(g, e, after, rows, ours, steps if position % 2 else Steps(rows)), position
huge, zero = torch.full((rows.span,), 3e38), torch.zeros(rows.span)
assert not tk.quantise(huge, huge, zero, rows, ours, Steps(rows))
assert tk.quantise(huge, -huge, zero, rows, ours, Steps(rows))
print("the same")
"""


# What is interpreted need not compile; that needs no GPU.
COMPILE = """
import triton
from ludocast.compression import triton_kernels as tk
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TYPES = dict(
    e_ptr="*fp32", next_ptr="*fp32", start_ptr="*i64", length_ptr="*i64", byte_ptr="*i64", got_ptr="*u8",
    got_step_ptr="*u8", offset_ptr="*i64", values_at="i64", exponents_at="i64", count="i32", bits_ptr="*u8",
    values_ptr="*fp16", exponents_ptr="*i8", step_ptr="*u8", means_ptr="*fp64", next_means_ptr="*fp64",
    bad_ptr="*i32", sizes_ptr="*fp32", out_ptr="*fp32", scale_bits="i64",
)

def compiled(kernel, constants, **types):
    types = {name: "constexpr" if name in constants else {**TYPES, **types}[name] for name in kernel.arg_names}
    source = ASTSource(kernel, types, {(kernel.arg_names.index(name),): value for name, value in constants.items()})
    options = {"num_warps": 8, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]

for dtype in ("*fp32", "*bf16"):
    ptx = compiled(tk._quantise, {"BLOCK": 2048}, g_ptr=dtype)
    assert "fma.rn.f32" not in ptx and "fma.rn.f64" not in ptx
for accumulate in (False, True):
    ptx = compiled(tk._decode, {"ACCUMULATE": accumulate, "LEARNING": accumulate, "BLOCK": 2048})
    assert "fma.rn.f32" not in ptx and "fma.rn.f64" not in ptx
compiled(tk._learn, {"BLOCK": 2048})
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
