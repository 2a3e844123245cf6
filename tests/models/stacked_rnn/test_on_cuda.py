"""On a CUDA device the layer is cuDNN's; here it is held against the same module on the CPU, in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from ludocast.models.stacked_rnn.sigmoid_rnn import Coordinates, SigmoidRNN
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch sees none")
LIMIT = {torch.float64: 1e-10, torch.float32: 2e-5}


def answers(rnn: SigmoidRNN, lanes: list[Tensor], packed: bool) -> dict[str, Tensor]:
    """Outputs, last state and all gradients of a fixed linear function of both, float64 on the CPU."""
    place = next(rnn.parameters())
    x = [lane.to(place, copy=True).requires_grad_() for lane in lanes]
    h, last = rnn(pack_sequence(x, enforce_sorted=False) if packed else torch.stack(x, 1))
    h = h.data if isinstance(h, PackedSequence) else h
    factors = torch.linspace(-1, 1, h.numel()).to(place).view_as(h)
    ((h * factors).sum() + (last * last).sum()).backward()
    found = {"output": h, "last": last} | {f"x{i}": lane.grad for i, lane in enumerate(x)}
    found |= {name: p.grad for name, p in rnn.named_parameters()}
    return {name: tensor.detach().cpu().double() for name, tensor in found.items() if tensor is not None}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
@pytest.mark.parametrize("coordinates", ["sigmoid", "tanh"])
def test_the_device_computes_what_the_cpu_does(
    coordinates: Coordinates, options: dict[str, Any], packed: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # cuDNN's default, 10 bits of each factor
    torch.manual_seed(0)
    rnn = SigmoidRNN(3, 17, coordinates=coordinates, dtype=torch.float64, **options)
    lanes = [torch.randn(T, 3, dtype=torch.float64) for T in ((9, 2, 6) if packed else (9, 9, 9))]
    wanted = answers(rnn, lanes, packed)
    there = copy.deepcopy(rnn).to("cuda", dtype)
    there.zero_grad()
    found = answers(there, lanes, packed)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert float((found[name] - tensor).abs().max() / tensor.abs().max()) < LIMIT[dtype], name
    # Without gradients the tanh side is kept between calls, in cuDNN's own chunk.
    there.eval()
    with torch.no_grad():
        x_TBX = torch.stack(lanes, 1).to("cuda", dtype) if not packed else lanes[0].to("cuda", dtype)[:, None]
        torch.testing.assert_close(there(x_TBX)[0], there(x_TBX)[0], rtol=0, atol=0)
        by_cpu, _ = rnn.eval()(x_TBX.cpu().double())
        assert float((there(x_TBX)[0].cpu().double() - by_cpu).abs().max()) < LIMIT[dtype]
