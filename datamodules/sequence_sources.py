"""Sources of sequences for the tasks: words with tags, text; each reads, splits and encodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from ludocast.datamodules.ctf import CtfData, read_ctf
from ludocast.datamodules.sequence import SequenceParts, SequenceSource
from ludocast.datamodules.sequences import Sequences, from_offsets
from ludocast.datamodules.step_inputs import StepInputs
from ludocast.datamodules.text import Layout, encode_text, numbered_lines, token_chunks
from ludocast.datamodules.vocabulary import UNKNOWN_TEXT, Vocabulary, fit_vocabulary


class TagSource(SequenceSource):
    """Words with a tag each, in CNTK's text format: steps "token" and "target".

    A word is what the comment behind its number says, or else the number; words that are not in the training part are
    unknown, whatever the file's own numbers know.

    Args:
        train: File of the training and validation sequences.
        test: File of the test sequences.
        words: Sparse stream of the words.
        tags: Sparse stream of the tags.
        labels: Text file with the name of tag 0 in its first line, and so on; None takes the comments' names.
        validation: Share of the sequences of `train` held out.
        min_count: Words seen less often are unknown.
        unknown: What the files themselves write for a word that is not told; CNTK's ATIS files have it in both parts.
        seed: Of the split.
    """

    def __init__(
        self,
        train: Path,
        test: Path,
        words: str = "S0",
        tags: str = "S2",
        labels: Path | None = None,
        validation: float = 0.1,
        min_count: int = 1,
        unknown: str = "<UNK>",
        seed: int = 0,
    ) -> None:
        self.train, self.test, self.words, self.tags = Path(train), Path(test), words, tags
        self.labels = None if labels is None else Path(labels)
        self.validation, self.min_count, self.unknown, self.seed = validation, min_count, unknown, seed

    def read(self) -> SequenceParts:
        """Read both files.

        Raises:
            ValueError: If a file is broken, a sequence has not as many tags as words, or a tag has no name.
        """
        known, test = read_ctf(self.train), read_ctf(self.test)
        for data in (known, test):
            data.check_same_length(self.words, self.tags)
        offsets = known.sparse(self.words).offsets
        order = np.random.default_rng(self.seed).permutation(len(offsets) - 1)
        held = max(1, round(self.validation * len(order)))
        if held >= len(order):
            raise ValueError(f"{self.train} has {len(order)} sequences; two or more are needed to hold one out")
        validation_rows, train_rows = np.sort(order[:held]), np.sort(order[held:])
        texts = known.sparse(self.words).texts()
        marks = np.arange(len(texts))
        own = from_offsets({"mark": marks}, offsets).rows(train_rows).compact().steps["mark"]
        vocabulary = fit_vocabulary(texts.take(pa.array(own)), self.min_count, unknown=self.unknown)
        classes = self._classes(known, test)
        sequences = self._encoded(known, vocabulary)
        return SequenceParts(
            train=sequences.rows(train_rows),
            validation=sequences.rows(validation_rows),
            test=self._encoded(test, vocabulary),
            sizes={"tokens": len(vocabulary), "numbers": 0, "classes": len(classes)},
            vocabulary=vocabulary,
            classes=classes,
            inputs=StepInputs(vocabulary, "words"),
            rule=f"{held} of {len(order)} training sequences held out, seed {self.seed}; test as given",
        )

    def _encoded(self, data: CtfData, vocabulary: Vocabulary) -> Sequences:
        words = data.sparse(self.words)
        steps = {"token": vocabulary.encode(words.texts()), "target": data.sparse(self.tags).ids()}
        return from_offsets(steps, words.offsets)

    def _classes(self, known: CtfData, test: CtfData) -> tuple[str, ...]:
        streams = [data.sparse(self.tags) for data in (known, test)]
        count = max(stream.dimension for stream in streams)
        if self.labels is None:
            names = {**streams[1].names, **streams[0].names}
            return tuple(names.get(index, str(index)) for index in range(count))
        lines = tuple(line.strip() for _, line in numbered_lines(self.labels))
        if len(lines) < count:
            raise ValueError(
                f"{self.labels} names {len(lines)} tags, the data has numbers up to {count - 1}; add the missing lines"
            )
        return lines


class TextSource(SequenceSource):
    """Texts for a language model: steps "token" and "target", the token that follows.

    Args:
        train: Text, from which alone the vocabulary is made.
        validation: Text.
        test: Text.
        layout: "words" of lines, or "lines" of one token, a blank line after each sentence.
        end: Token put after each sentence; None for none.
        is_one_text: Each file is one sequence; else each sentence is.
        min_count: Tokens seen less often are unknown.
        max_size: Most ids, padding and unknown among them.
        unknown: What the text itself writes for unknown tokens.
        encoding: Any name that Python knows.
    """

    def __init__(
        self,
        train: Path,
        validation: Path,
        test: Path,
        layout: Layout = "words",
        end: str | None = "</s>",
        is_one_text: bool = True,
        min_count: int = 1,
        max_size: int | None = None,
        unknown: str = UNKNOWN_TEXT,
        encoding: str = "utf-8",
    ) -> None:
        self.files = {"train": Path(train), "validation": Path(validation), "test": Path(test)}
        self.layout: Layout = layout
        self.end, self.is_one_text, self.encoding = end, is_one_text, encoding
        self.min_count, self.max_size, self.unknown = min_count, max_size, unknown

    def read(self) -> SequenceParts:
        """Read the training text twice, for its vocabulary and its ids, the others once.

        Raises:
            ValueError: If a file is not readable as text, or holds no token.
        """
        chunks = token_chunks(self.files["train"], self.layout, self.end, self.encoding)
        vocabulary = fit_vocabulary((chunk.tokens for chunk in chunks), self.min_count, self.max_size, self.unknown)
        sizes = {"tokens": len(vocabulary), "numbers": 0, "classes": len(vocabulary)}
        return SequenceParts(
            train=self._encoded(self.files["train"], vocabulary),
            validation=self._encoded(self.files["validation"], vocabulary),
            test=self._encoded(self.files["test"], vocabulary),
            sizes=sizes,
            vocabulary=vocabulary,
            inputs=StepInputs(vocabulary, "text", line_end=self.end),
            rule="three files",
        )

    def _encoded(self, path: Path, vocabulary: Vocabulary) -> Sequences:
        sentences = encode_text(path, vocabulary, self.layout, self.end, self.encoding)
        sequences = (sentences.joined() if self.is_one_text else sentences).with_next("token")
        if not sequences.lengths.any():
            raise ValueError(f"{path} has no token that follows another; give a longer text, or is_one_text=True")
        return sequences
