"""Tokens and their ids: 0 is padding, 1 unknown, then the tokens of the training data, the most frequent first."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ludocast.datamodules.errors import first_line

PADDING = 0
UNKNOWN = 1
FIRST = 2  # id of the most frequent token
PADDING_TEXT = "<pad>"
UNKNOWN_TEXT = "<unk>"
FORMAT = 1

Tokens: TypeAlias = Sequence[str | None] | np.ndarray  # or an Arrow array of texts, which has no types of its own


@dataclass(frozen=True)
class Vocabulary:
    """The tokens, of ids 2 and up.

    Attributes:
        tokens: Distinct, the most frequent first.
        unknown: A text that the data itself writes for a token it does not tell; it has the id of unknown ones.
    """

    tokens: tuple[str, ...]
    unknown: str = UNKNOWN_TEXT

    def __len__(self) -> int:
        """Number of ids, padding and unknown among them."""
        return FIRST + len(self.tokens)

    @cached_property
    def _values(self) -> pa.Array:
        return pa.array(self.tokens, pa.large_string())

    def encode(self, tokens: Tokens | Any) -> np.ndarray:
        """Ids of tokens.

        Args:
            tokens: Texts [T]; None is an unknown one. A dictionary-encoded Arrow array costs its distinct tokens only.

        Returns:
            int32 [T].

        Raises:
            ValueError: If something is no text.
        """
        array = _texts(tokens)
        if isinstance(array, pa.ChunkedArray):
            return np.concatenate([self.encode(chunk) for chunk in array.chunks] or [np.zeros(0, np.int32)])
        if pa.types.is_dictionary(array.type):
            known = np.append(self.encode(array.dictionary), np.int32(UNKNOWN))
            index = array.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
            return np.asarray(known[index])
        found = pc.index_in(array.cast(pa.large_string()), value_set=self._values)
        ids = np.asarray(found.fill_null(UNKNOWN - FIRST).to_numpy(zero_copy_only=False), np.int32)
        return ids + np.int32(FIRST)

    def decode(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """Tokens of ids [T].

        Raises:
            ValueError: If there is no such id.
        """
        index = np.asarray(ids, np.int64)
        if index.size and not 0 <= index.min() <= index.max() < len(self):
            raise ValueError(f"ids lie between 0 and {len(self) - 1}, got {index.min()} to {index.max()}")
        names = np.array([PADDING_TEXT, self.unknown, *self.tokens], object)
        return [str(name) for name in names[index]]

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {"format": FORMAT, "tokens": list(self.tokens), "unknown": self.unknown}


def vocabulary_from_dict(document: dict[str, Any]) -> Vocabulary:
    """A vocabulary that `Vocabulary.to_dict` wrote.

    Raises:
        ValueError: If it is none.
    """
    tokens, unknown = document.get("tokens"), document.get("unknown")
    if document.get("format") != FORMAT:
        raise ValueError(f"a vocabulary of format {FORMAT} is wanted, got {document.get('format')!r}")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in [*tokens, unknown]):
        raise ValueError('a vocabulary has a list of texts as "tokens" and a text as "unknown"')
    if len(set(tokens)) < len(tokens):
        raise ValueError(f"a vocabulary holds {max(tokens, key=tokens.count)!r} twice; take one out")
    return Vocabulary(tuple(tokens), str(unknown))


def fit_vocabulary(
    tokens: Tokens | Iterable[Any],
    min_count: int = 1,
    max_size: int | None = None,
    unknown: str = UNKNOWN_TEXT,
) -> Vocabulary:
    """The tokens of training data; of two with one count the first by code point comes first, whatever their order.

    Args:
        tokens: The training tokens and no others; or an iterator of Arrow arrays of them, for data larger than memory.
        min_count: Tokens seen less often are unknown.
        max_size: Most ids, padding and unknown among them; the rarest tokens are left out.
        unknown: A text that the data itself writes for unknown tokens.

    Raises:
        ValueError: If no token is left, or an argument or a token makes no sense.
    """
    if min_count < 1 or (max_size is not None and max_size <= FIRST):
        raise ValueError(
            f"min_count is 1 or more and max_size {FIRST + 1} or more (two ids are padding and unknown), "
            f"got {min_count} and {max_size}"
        )
    counts = _counts(tokens)
    counts.pop(unknown, None)
    kept = sorted((token for token, count in counts.items() if count >= min_count), key=lambda t: (-counts[t], t))
    if not kept:
        raise ValueError(
            f"no token is seen {min_count} times among {len(counts)} distinct ones; lower min_count, or give a text"
        )
    if len(kept) == 1:
        warnings.warn(f"the training data has one token only, {kept[0]!r}: it tells nothing by itself", stacklevel=2)
    return Vocabulary(tuple(kept if max_size is None else kept[: max_size - FIRST]), unknown)


def _counts(tokens: Tokens | Iterable[Any]) -> Counter[str]:
    counts: Counter[str] = Counter()
    is_one = isinstance(tokens, (Sequence, np.ndarray, pa.Array, pa.ChunkedArray))
    for part in [tokens] if is_one else tokens:
        array = _texts(part)
        if pa.types.is_dictionary(array.type) and isinstance(array, pa.ChunkedArray):
            array = array.unify_dictionaries()
        seen = pc.value_counts(array)
        for text, count in zip(seen.field("values").to_pylist(), seen.field("counts").to_pylist(), strict=True):
            if text is not None:
                counts[text] += count
    return counts


def _texts(tokens: Any) -> Any:
    """Arrow texts, dictionary-encoded or not."""
    try:
        array = tokens if isinstance(tokens, (pa.Array, pa.ChunkedArray)) else pa.array(tokens, pa.large_string())
    except (pa.ArrowTypeError, pa.ArrowInvalid, UnicodeError) as error:
        raise ValueError(f"tokens are texts: {first_line(error)}; turn them into text first") from error
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise ValueError(f"tokens are texts, got Arrow's {kind}; turn them into text first")
    return array
