"""What the convergence bench trains: small networks whose training takes a minute on one core.

B examples of a batch, T characters of a window, V characters of the alphabet, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from pydoc_data import topics

import numpy as np
import torch
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.read import from_frame
from ludocast.models.table.network import TabularNetwork
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.tables import players_en


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


class TableNetwork(nn.Module):
    """One member of the tabular network, which reads numbers and codes side by side: [B, D + S] to [B, 2]."""

    def __init__(self, numbers: int, code_sizes: list[int]) -> None:
        super().__init__()
        self.numbers = numbers
        self.network = TabularNetwork(
            numbers, code_sizes, 1, members=1, embedding=16, rank=32, hidden=384, dropout=0.25
        )  # fmt: skip

    def forward(self, x_BX: Tensor) -> Tensor:
        """Logits of staying, which is 0, and of leaving."""
        logit_B1 = self.network(x_BX[None, :, : self.numbers], x_BX[None, :, self.numbers :].long())[0]
        return torch.cat([torch.zeros_like(logit_B1), logit_B1], dim=-1)


@cache
def _players() -> tuple[Tensor, Tensor, Tensor, int, list[int]]:
    """Inputs [N, D + S] and labels [N] of the table, which rows are held out, D, and how many codes each of S has."""
    table = players_en()
    read = from_frame(table.frame)
    schema = infer_schema(read, table.label, table.positive, table.exclude)
    columns, _ = raw_columns(read, schema)
    label = label_index(label_values(read, table.label, frozenset(schema.missing_tokens)), schema)
    held = np.arange(len(label)) % 5 == 0
    train = {name: values[~held] for name, values in columns.items()}
    preprocessing, encoded = fit_preprocessing(schema, train, label[~held])
    rest = preprocessing.encode({name: values[held] for name, values in columns.items()})
    x = np.empty((len(label), encoded.numbers.shape[1] + encoded.codes.shape[1]), np.float32)
    x[~held], x[held] = (np.concatenate([part.numbers, part.codes], axis=1) for part in (encoded, rest))
    sizes = preprocessing.sizes
    return torch.from_numpy(x), torch.from_numpy(label), torch.from_numpy(held), sizes["numbers"], sizes["code_sizes"]


class ChurnTask(Task):
    """Who leaves, of the players of `../shared/data/game_churn/players_en.csv`; every fifth one validates."""

    steps, warmup, lr, batch_size = 600, 20, 2e-3, 64

    def __init__(self) -> None:
        self._x, self._y, self._held, self._numbers, self._code_sizes = _players()
        self._rows = (~self._held).nonzero().flatten()

    def model(self) -> nn.Module:
        """Its hidden layers and cross layers are compressed."""
        return TableNetwork(self._numbers, list(self._code_sizes))

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Players at random."""
        chosen_B = self._rows[torch.randint(len(self._rows), (self.batch_size,), generator=generator)]
        return self._x[chosen_B], self._y[chosen_B]

    def validation(self) -> tuple[Tensor, Tensor]:
        """All that are held out."""
        return self._x[self._held], self._y[self._held]


TASKS: dict[str, type[Task]] = {"char-lstm": CharTask, "digits-mlp": DigitsTask, "churn": ChurnTask}
