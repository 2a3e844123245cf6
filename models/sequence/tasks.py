"""The four tasks: tags of words, the next token of a text, who leaves, the next event of a session."""

# B sequences or lanes, L steps, C classes

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ludocast.datamodules.ragged import offsets_of
from ludocast.datamodules.sequence_batches import SequenceBatch
from ludocast.models.metrics import macro_auc
from ludocast.models.sequence.metrics import ChunkCounts, chunk_tags, perplexity, rank_measures, rank_of_target
from ludocast.models.sequence.module import LearningSettings, Losses, SequenceModule, inputs_of
from ludocast.models.sequence.network import NetworkSettings, SequenceNetwork
from ludocast.models.sequence.softmax import AdaptiveHead, Softmax, log_uniform, sampled_loss
from ludocast.models.stacked_rnn.recurrent import State
from torch import Tensor
from torch.nn import functional as F

NETWORK = NetworkSettings()
LEARNING = LearningSettings()
TOP = 10  # answers among which a hit counts


def step_losses(logits_BLC: Tensor, batch: SequenceBatch) -> Losses:
    """Cross-entropy of each real step's target."""
    loss_BL = F.cross_entropy(logits_BLC.transpose(1, 2), batch.steps["target"], reduction="none")
    return Losses(loss_BL, batch.mask, batch.steps_per_batch)


class TagModule(SequenceModule):
    """A tag for each word, from both directions: the step "target".

    Args:
        network: Size.
        learning: How it learns.
        window: Words on either side that a step reads beside its own.
    """

    def __init__(
        self, network: NetworkSettings = NETWORK, learning: LearningSettings = LEARNING, window: int = 1
    ) -> None:
        super().__init__(network, learning)
        self.save_hyperparameters()
        self.window = window
        self.classes: tuple[str, ...] = ()
        self._right = self._steps = 0
        self.chunks: ChunkCounts | None = None

    def make_network(self, sizes: dict[str, Any]) -> SequenceNetwork:
        """Both directions, a softmax a step."""
        return SequenceNetwork(
            self.network_settings, sizes["tokens"], sizes["numbers"], sizes["classes"], window=self.window,
            is_bidirectional=True,
        )  # fmt: skip

    def losses(self, logits: Tensor, batch: SequenceBatch) -> Losses:
        """Cross-entropy of each word's tag."""
        return step_losses(logits, batch)

    def begin_scores(self) -> None:
        """Learn the tags' names from the data module."""
        datamodule = getattr(self._trainer, "datamodule", None)
        if datamodule is not None:  # else they were given
            self.classes = datamodule.parts.classes
        tags = chunk_tags(self.classes) if self.classes else None
        self.chunks = None if tags is None else ChunkCounts(tags)
        self._right = self._steps = 0

    def take_scores(self, logits: Tensor, batch: SequenceBatch) -> None:
        """Count right tags and chunks."""
        found, true = (ids[batch.mask].cpu().numpy() for ids in (logits.argmax(-1), batch.steps["target"]))
        self._right += int((found == true).sum())
        self._steps += len(true)
        if self.chunks is not None:
            self.chunks.update(found, true, offsets_of(batch.length.cpu().numpy()))

    def scores(self, loss: float) -> dict[str, float]:
        """Loss, accuracy, and F1 of chunks where the tags have such."""
        found = {"loss": loss, "accuracy": self._right / self._steps}
        if self.chunks is not None:
            found |= dict(zip(("precision", "recall", "f1"), self.chunks.total(), strict=True))
        return found

    def answer(self, logits: Tensor) -> Tensor:
        """Ids of tags [B, L]."""
        return logits.argmax(-1)


class LanguageModule(SequenceModule):
    """The next token of a text: the step "target".

    Args:
        network: Size.
        learning: How it learns.
        is_tied: Whether the output weights are the embeddings.
        softmax: Over all tokens; "adaptive" by groups of rarer ones; "sampled" for training alone, over what came and
            some drawn tokens, while answers and evaluations are over all.
        samples: Tokens drawn a batch with "sampled".

    Raises:
        ValueError: If no token would be drawn.
    """

    def __init__(
        self,
        network: NetworkSettings = NETWORK,
        learning: LearningSettings = LEARNING,
        is_tied: bool = False,
        softmax: Softmax = "full",
        samples: int = 512,
    ) -> None:
        super().__init__(network, learning)
        if samples < 1:
            raise ValueError(f"a sampled softmax draws one token or more, got samples={samples}")
        self.save_hyperparameters()
        self.is_tied, self.samples = is_tied, samples
        self.softmax: Softmax = softmax

    def make_network(self, sizes: dict[str, Any]) -> SequenceNetwork:
        """Forwards, a softmax over the vocabulary at each step."""
        return SequenceNetwork(
            self.network_settings, sizes["tokens"], sizes["numbers"], sizes["classes"], is_tied=self.is_tied,
            is_adaptive=self.softmax == "adaptive",
        )  # fmt: skip

    def training_losses(self, network: SequenceNetwork, batch: SequenceBatch, state: State) -> tuple[Losses, State]:
        """Cross-entropy of each next token, without the logits of all of them where the softmax needs none."""
        head, mask, target = network.head, batch.mask, batch.steps["target"]
        if self.softmax == "full":
            return super().training_losses(network, batch, state)
        read, after = network.read(*inputs_of(network, batch, state))
        if isinstance(head, AdaptiveHead):
            loss = head.loss(read[mask], target[mask])
        else:
            drawn = log_uniform(self.samples, len(head.bias), read.device)
            loss = sampled_loss(read[mask], target[mask], head.weight, head.bias, drawn)
        return Losses(loss.new_zeros(mask.shape).masked_scatter(mask, loss), mask, batch.steps_per_batch), after

    def losses(self, logits: Tensor, batch: SequenceBatch) -> Losses:
        """Cross-entropy of each next token, in nats."""
        return step_losses(logits, batch)

    def begin_scores(self) -> None:
        """The loss is all there is."""

    def take_scores(self, logits: Tensor, batch: SequenceBatch) -> None:
        """The loss is all there is."""

    def scores(self, loss: float) -> dict[str, float]:
        """Cross-entropy in nats a token, and perplexity."""
        return {"loss": loss, "perplexity": perplexity(loss)}

    def answer(self, logits: Tensor) -> Tensor:
        """Log-probabilities [B, L, C]."""
        return logits.log_softmax(-1)


class NextModule(LanguageModule):
    """The next event of a session: as `LanguageModule`, and told how often it is among the first few answers."""

    def begin_scores(self) -> None:
        """Count from 0."""
        self._ranks: list[np.ndarray] = []

    def take_scores(self, logits: Tensor, batch: SequenceBatch) -> None:
        """Rank what came."""
        mask = batch.mask
        self._ranks.append(rank_of_target(logits[mask].cpu().numpy(), batch.steps["target"][mask].cpu().numpy()))

    def scores(self, loss: float) -> dict[str, float]:
        """Loss, perplexity, share of hits among the first `TOP` answers, and mean reciprocal rank among these."""
        return super().scores(loss) | rank_measures(np.concatenate(self._ranks), (TOP,))


class LeavingModule(SequenceModule):
    """The probability that a player leaves, after the last real step: the static "label".

    Args:
        network: Size.
        learning: How it learns.
    """

    temperature: Tensor

    def __init__(self, network: NetworkSettings = NETWORK, learning: LearningSettings = LEARNING) -> None:
        super().__init__(network, learning)
        self.save_hyperparameters()
        self.register_buffer("temperature", torch.ones(()))
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def make_network(self, sizes: dict[str, Any]) -> SequenceNetwork:
        """Forwards, one logit."""
        return SequenceNetwork(
            self.network_settings, sizes["tokens"], sizes["numbers"], 1, head="last", columns=sizes.get("columns", 0)
        )

    def losses(self, logits: Tensor, batch: SequenceBatch) -> Losses:
        """Cross-entropy of each player's label.

        Raises:
            ValueError: If the sequences are in chunks: only after the last of them is there an answer.
        """
        if not bool(batch.reset.all()):
            raise ValueError("who leaves is answered after whole sequences; leave tbptt_steps out")
        real_B = batch.length > 0
        loss_B = F.binary_cross_entropy_with_logits(logits[:, 0], batch.static["label"].float(), reduction="none")
        return Losses(loss_B, real_B, batch.rows_per_batch)

    def begin_scores(self) -> None:
        """Forget the players of before."""
        self._logits, self._labels = [], []

    def take_scores(self, logits: Tensor, batch: SequenceBatch) -> None:
        """Keep the answers."""
        self._logits.append(logits[:, 0].float().cpu())
        self._labels.append(batch.static["label"].cpu())

    def scores(self, loss: float) -> dict[str, float]:
        """Loss, and AUC where both kinds of players occur."""
        p, label = torch.sigmoid(torch.cat(self._logits).double()).numpy(), torch.cat(self._labels).numpy()
        auc = macro_auc(np.stack([1 - p, p], 1), label, 1)
        return {"loss": loss} | ({"auc": auc} if np.isfinite(auc) else {})

    def answer(self, logits: Tensor) -> Tensor:
        """Probabilities [B], calibrated."""
        return torch.sigmoid(logits[:, 0] / self.temperature)
