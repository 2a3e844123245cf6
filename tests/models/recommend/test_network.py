"""The network of candidates against its equations, and what must not change its scores."""

from __future__ import annotations

import numpy as np
import torch
from ludocast.models.recommend.network import CandidateNetwork


def made() -> tuple[CandidateNetwork, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = CandidateNetwork(3, 5).double().eval()
    inputs = torch.randn(2, 4, 3, dtype=torch.float64)
    network.standardise_by(inputs, torch.ones(2, 4, dtype=torch.bool))
    return network, inputs, torch.tensor([[True, True, True, True], [True, True, False, False]])


def test_scores_equal_loops() -> None:
    network, inputs, is_real = made()
    scores = network(inputs, is_real).detach().numpy()
    mean, deviation = inputs.flatten(0, 1).numpy().mean(0), inputs.flatten(0, 1).numpy().std(0)
    weight = {name: value.detach().numpy() for name, value in network.named_parameters()}

    def silu(x: np.ndarray) -> np.ndarray:
        return np.asarray(x / (1 + np.exp(-x)))

    for n in range(2):
        real = [c for c in range(4) if is_real[n, c]]
        first = {
            c: silu(weight["first.weight"] @ ((inputs[n, c].numpy() - mean) / deviation) + weight["first.bias"])
            for c in real
        }
        of_list = weight["of_list.weight"] @ (sum(first.values()) / len(real))
        for c in real:
            second = silu(weight["second.weight"] @ first[c] + weight["second.bias"] + of_list)
            np.testing.assert_allclose(scores[n, c], weight["last.weight"][0] @ second + weight["last.bias"][0])


def test_order_and_what_is_no_candidate_change_nothing() -> None:
    network, inputs, is_real = made()
    scores = network(inputs, is_real)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(network(inputs[:, order], is_real[:, order]), scores[:, order])
    other = torch.where(is_real[:, :, None], inputs, torch.full_like(inputs, 7.0))
    torch.testing.assert_close(network(other, is_real)[is_real], scores[is_real])
    torch.testing.assert_close(network(inputs[1:, :2], is_real[1:, :2])[0], scores[1, :2])


def test_what_is_no_candidate_and_what_is_constant_do_not_standardise() -> None:
    network, inputs, is_real = made()
    inputs[:, :, 1] = 4.0
    network.standardise_by(inputs, is_real)
    real = inputs.numpy()[is_real.numpy()]
    np.testing.assert_allclose(network.mean.numpy(), real.mean(0))
    np.testing.assert_allclose(network.deviation.numpy(), [real[:, 0].std(), 1.0, real[:, 2].std()])
