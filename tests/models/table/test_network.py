from __future__ import annotations

import math

import numpy as np
import torch
from ludocast.models.table.heads import class_losses
from ludocast.models.table.module import TabularModule, probabilities
from ludocast.models.table.network import TabularNetwork
from torch.nn import functional as F


def reference(network: TabularNetwork, numbers: np.ndarray, codes: np.ndarray, member: int) -> np.ndarray:
    """One member in float64, one row after the other, from the equations."""
    w = {name: value.detach().double().numpy()[member] for name, value in network.named_parameters()}
    offset = network.offset.numpy()
    out = []
    for x_row, code_row in zip(numbers, codes, strict=True):
        x0 = np.concatenate([x_row, *(w["values"][c + o] for c, o in zip(code_row, offset, strict=True))])
        x = x0
        for layer in range(len(network.cross)):
            gate = (x @ w[f"cross.{layer}.down.weight"]) @ w[f"cross.{layer}.up.weight"] + w[f"cross.{layer}.up.bias"][
                0
            ]
            x = x0 * gate + x
        h = x0 @ w["hidden.weight"] + w["hidden.bias"][0]
        h = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in h])
        out.append(np.concatenate([x, h]) @ w["head.weight"] + w["head.bias"][0])
    return np.array(out)


def small(outputs: int = 1, members: int = 3) -> TabularNetwork:
    torch.manual_seed(0)
    return TabularNetwork(4, [3, 5], outputs, members=members, embedding=6, rank=2, hidden=7).eval()


def test_members_equal_a_slow_reference() -> None:
    for outputs in (1, 4):
        network = small(outputs)
        generator = np.random.default_rng(1)
        numbers = generator.normal(size=(9, 4))
        codes = np.stack([generator.integers(0, 3, 9), generator.integers(0, 5, 9)], axis=1)
        found = network(torch.tensor(numbers).float()[None], torch.tensor(codes)[None].expand(3, -1, -1))
        assert found.shape == (3, 9, outputs)
        for member in range(3):
            wanted = reference(network, numbers, codes, member)
            np.testing.assert_allclose(found[member].detach().numpy(), wanted, atol=2e-5)


def test_members_are_independent() -> None:
    network = small()
    numbers, codes = torch.randn(3, 5, 4), torch.zeros(3, 5, 2, dtype=torch.int64)
    network(numbers, codes)[1].sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        touched = parameter.grad.flatten(1).abs().sum(1)
        assert touched[0] == 0, name
        assert touched[2] == 0, name


def test_loss_by_hand() -> None:
    logits = torch.tensor([[[0.0], [math.log(3.0)]]])
    loss = class_losses(logits, torch.tensor([[1, 1]]))
    torch.testing.assert_close(loss, torch.tensor([[math.log(2), math.log(4 / 3)]]))
    torch.testing.assert_close(probabilities(torch.tensor([[math.log(3.0)]])), torch.tensor([[0.25, 0.75]]))


def test_each_members_gradient_is_clipped_alone() -> None:
    module = TabularModule(members=2, hidden=3, rank=1, embedding=2)
    module.build({"numbers": 1, "code_sizes": [3], "classes": 2})
    assert module.network is not None
    for parameter in module.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    grad = module.network.head.weight.grad
    assert grad is not None
    grad[0, 0] = 5.0
    grad[1, 0] = 0.5
    module.configure_gradient_clipping(torch.optim.SGD(module.network.parameters(), 0.1))
    assert grad[0, 0].item() == 1.0
    assert grad[1, 0].item() == 0.5


def test_gelu_is_the_exact_one() -> None:
    x = torch.tensor([1.0])
    torch.testing.assert_close(F.gelu(x), torch.tensor([0.5 * (1 + math.erf(1 / math.sqrt(2)))]))
