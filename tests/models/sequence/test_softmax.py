"""Cheaper softmaxes against the full one: float64 loops, expectations by enumeration, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ludocast.models.sequence.module import LearningSettings
from ludocast.models.sequence.network import NetworkSettings, SequenceNetwork
from ludocast.models.sequence.softmax import AdaptiveHead, Softmax, log_uniform, log_uniform_share, sampled_loss
from ludocast.models.sequence.tasks import LanguageModule
from torch.nn import functional as F

from tests.models.sequence.made import SIZES, Made, data, trainer, whole_batch

H, C, N = 16, 24, 40
SMALL = NetworkSettings("gru", hidden=32, layers=1, embedding=32, dropout=0.0)


def given(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(N, H, dtype=torch.float64, generator=generator)
    return h, torch.randint(1, C, (N,), generator=generator)


def adaptive() -> AdaptiveHead:
    torch.manual_seed(0)
    return AdaptiveHead(H, C).double()


def test_adaptive_probabilities_are_those_of_a_plain_loop() -> None:
    head, (h, target) = adaptive(), given()
    weights = {name: p.detach().numpy() for name, p in head.groups.named_parameters()}

    def softmax(z: np.ndarray) -> np.ndarray:
        e = np.exp(z - z.max())
        return np.asarray(e / e.sum())

    loss = head.loss(h, target).detach().numpy()
    for n in range(N):
        x = h[n].numpy()
        first = softmax(weights["head.weight"] @ x + weights["head.bias"])
        p = list(first[: C // 8])
        for group in range(2):
            inner = softmax(weights[f"tail.{group}.1.weight"] @ (weights[f"tail.{group}.0.weight"] @ x))
            p += list(first[C // 8 + group] * inner)
        assert sum(p) == pytest.approx(1)
        np.testing.assert_allclose(head(h)[n].exp().detach().numpy(), p, rtol=1e-10)
        assert loss[n] == pytest.approx(-math.log(p[int(target[n])]), rel=1e-10)


def test_the_adaptive_loss_has_the_gradient_of_all_log_probabilities() -> None:
    head, (h, target) = adaptive(), given()
    mine = torch.autograd.grad(head.loss(h, target).sum(), list(head.parameters()))
    wanted = torch.autograd.grad(-head(h).gather(1, target[:, None]).sum(), list(head.parameters()))
    for a, b in zip(mine, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_groups_without_a_target_have_a_gradient_of_zero() -> None:
    head, (h, _) = adaptive(), given()
    head.loss(h, torch.ones(N, dtype=torch.int64)).sum().backward()  # type: ignore[no-untyped-call]
    grads = {name: p.grad for name, p in head.groups.named_parameters()}
    assert all(grad is not None for grad in grads.values())
    assert not any(bool(grads[f"tail.1.{k}.weight"].any()) for k in (0, 1))  # type: ignore[union-attr]


def test_a_batch_of_idle_lanes_alone_has_gradients_of_zero() -> None:
    """A process whose lanes have all ended still takes part in the average."""
    head, (weight, bias) = adaptive(), output_weights()
    h, target = torch.zeros(0, H, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    loss = head.loss(h, target).sum() + sampled_loss(h, target, weight, bias, torch.tensor([3])).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    for p in (*head.parameters(), weight, bias):
        assert p.grad is not None
        assert not p.grad.any()


def test_draws_follow_their_shares_which_sum_to_one() -> None:
    ids = torch.arange(C)
    share = log_uniform_share(ids, C)
    assert float(share.sum()) == pytest.approx(1, abs=1e-12)
    assert share.tolist() == pytest.approx([math.log((k + 1) / k) / math.log(C + 1) for k in (C, *range(1, C))])
    torch.manual_seed(0)
    count = 200_000
    found = torch.bincount(log_uniform(count, C), minlength=C)
    deviation = (found / count - share) / (share * (1 - share) / count).sqrt()
    assert float(deviation.abs().max()) < 4.5


def output_weights(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(C, H, dtype=torch.float64, generator=generator)
    bias = torch.randn(C, dtype=torch.float64, generator=generator)
    return weight.requires_grad_(), bias.requires_grad_()


def test_the_sampled_loss_is_that_of_a_plain_loop() -> None:
    (h, target), (weight, bias) = given(), output_weights()
    samples = torch.tensor([1, 1, 5, 23, 0, int(target[0])])
    found = sampled_loss(h, target, weight, bias, samples)
    share = [math.log((k + 1) / k) / math.log(C + 1) for k in (C, *range(1, C))]
    for n in range(N):
        t, scores = int(target[n]), (weight @ h[n] + bias).tolist()
        total = math.exp(scores[t])
        for k in samples.tolist():
            if k != t:
                total += math.exp(scores[k]) / (len(samples) * share[k])
        assert found[n].item() == pytest.approx(math.log(total) - scores[t], rel=1e-10)


def test_the_estimated_sum_is_unbiased() -> None:
    """The expectation over one draw, by enumeration: exp(loss) times its share, summed over all ids."""
    (h, target), (weight, bias) = given(), output_weights()
    share = log_uniform_share(torch.arange(C), C)
    expected = sum(share[k] * sampled_loss(h, target, weight, bias, torch.tensor([k])).exp() for k in range(C))
    torch.testing.assert_close(expected, F.cross_entropy(h @ weight.T + bias, target, reduction="none").exp())


def test_many_samples_give_the_gradient_of_the_full_softmax() -> None:
    (h, target), (weight, bias) = given(), output_weights()
    wanted = torch.autograd.grad(F.cross_entropy(h @ weight.T + bias, target), [weight, bias])
    errors = []
    for count in (200, 20_000):
        torch.manual_seed(3)
        loss = sampled_loss(h, target, weight, bias, log_uniform(count, C)).mean()
        found = torch.autograd.grad(loss, [weight, bias])
        errors.append(max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)))
    assert errors[1] < 0.05, errors
    assert errors[1] < errors[0] / 3  # about √100 times as near


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("softmax", ["full", "adaptive", "sampled"])
@pytest.mark.parametrize("is_tied", [False, True])
def test_each_softmax_learns_the_text(softmax: Softmax, is_tied: bool) -> None:
    if softmax == "adaptive":
        if is_tied:
            with pytest.raises(ValueError, match="no single table"):
                SequenceNetwork(SMALL, 9, 0, 9, is_tied=True, is_adaptive=True)
            return
        sizes = {**SIZES, "tokens": 9, "classes": 9}  # three ids that never come
    else:
        sizes = SIZES
    module = LanguageModule(SMALL, LearningSettings(0.03, average=0.9), is_tied, softmax, samples=8)
    module.build(sizes)
    source = data(4)
    trainer(25).fit(module, datamodule=source)
    found = trainer().validate(module, datamodule=source, verbose=False)[0]["validation_loss"]
    # Counts alone have log 4 = 1.39. The first target of each of 6 sequences is drawn of four, so 0.085 is the best.
    assert found < 0.6
    batch = whole_batch(Made().read().validation)
    torch.testing.assert_close(module.answer(module(batch)[0]).exp().sum(-1), torch.ones(batch.mask.shape))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="8 answers and 16 hidden units"):
        AdaptiveHead(H, 7)
    with pytest.raises(ValueError, match="samples=0"):
        LanguageModule(SMALL, softmax="sampled", samples=0)
