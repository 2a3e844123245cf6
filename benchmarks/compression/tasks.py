"""What the convergence bench trains: small networks whose training takes a minute on one core.

B examples of a batch, T characters of a window, V characters of the alphabet, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pydoc_data import topics

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F


class Task(ABC):
    """A network, its data and its loss; all random numbers come from seeds, so that runs can be paired.

    Attributes:
        steps: Of a run.
        warmup: Steps of plain averaging that come first.
        lr: Of Adam at the start, from which it falls to zero in a line; the best found for fp32.
        batch_size: B, of each rank.
    """

    steps: int
    warmup: int
    lr: float
    batch_size: int

    @abstractmethod
    def model(self) -> nn.Module:
        """A new network; its start follows from torch's seed."""

    @abstractmethod
    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The next inputs and targets of one rank."""

    @abstractmethod
    def validation(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets that no batch holds."""

    def loss(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy; the class is the output's last dimension."""
        return F.cross_entropy(model(x).flatten(0, -2), y.flatten())


class CharLSTM(nn.Module):
    """Embedding, one LSTM layer, a logit a character: [B, T] to [B, T, V]."""

    def __init__(self, alphabet: int, embedding: int = 64, hidden: int = 192) -> None:
        super().__init__()
        self.embed = nn.Embedding(alphabet, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.head = nn.Linear(hidden, alphabet)

    def forward(self, x_BT: Tensor) -> Tensor:
        """Logits of each next character."""
        return self.head(self.lstm(self.embed(x_BT))[0])


class CharTask(Task):
    """The next character of Python's own help texts, which every CPython carries; the last tenth validates."""

    steps, warmup, lr, batch_size = 800, 20, 16e-3, 8
    window = 64

    def __init__(self) -> None:
        text = "".join(topics.topics[key] for key in sorted(topics.topics))
        alphabet = {character: i for i, character in enumerate(sorted(set(text)))}
        codes = torch.tensor([alphabet[character] for character in text])
        cut = len(codes) * 9 // 10
        self._train, self._rest, self._alphabet = codes[:cut], codes[cut:], len(alphabet)

    def model(self) -> nn.Module:
        """Embedding 64, hidden 192: 49,152, 147,456 and about 20,000 weights are compressed."""
        return CharLSTM(self._alphabet)

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Windows at random places."""
        start_B1 = torch.randint(len(self._train) - self.window, (self.batch_size, 1), generator=generator)
        window = self._train[start_B1 + torch.arange(self.window + 1)]
        return window[:, :-1], window[:, 1:]

    def validation(self) -> tuple[Tensor, Tensor]:
        """Windows of 256 behind one another."""
        length = 256
        count = (len(self._rest) - 1) // length
        x, y = (self._rest[i : i + count * length].view(count, length) for i in (0, 1))
        return x, y


class DigitsTask(Task):
    """scikit-learn's 1,797 digits of 8 × 8 pixels, noise added to each batch; every fifth digit validates."""

    steps, warmup, lr, batch_size = 400, 20, 2e-3, 16
    noise = 0.25  # of pixels in [0, 1]; without it 400 steps learn all by heart

    def __init__(self) -> None:
        digits = load_digits()
        x = torch.tensor(digits.data, dtype=torch.float32) / 16
        y = torch.tensor(digits.target)
        held = torch.arange(len(y)) % 5 == 0
        self._train, self._rest = (x[~held], y[~held]), (x[held], y[held])

    def model(self) -> nn.Module:
        """Hidden 512, twice: 32,768 and 262,144 weights are compressed, 5,120 are not."""
        return nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Digits at random, noise upon them."""
        x_ND, y_N = self._train
        chosen_B = torch.randint(len(y_N), (self.batch_size,), generator=generator)
        x_BD = x_ND[chosen_B]
        return x_BD + self.noise * torch.randn(x_BD.shape, generator=generator), y_N[chosen_B]

    def validation(self) -> tuple[Tensor, Tensor]:
        """Without noise."""
        return self._rest


TASKS: dict[str, type[Task]] = {"char-lstm": CharTask, "digits-mlp": DigitsTask}
