"""Text as token sequences, read a chunk at a time.

A line is a sentence of words, or a token, with a blank line after each sentence.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ludocast.datamodules.read import check_file
from ludocast.datamodules.sequences import Sequences, from_offsets
from ludocast.datamodules.vocabulary import Vocabulary

CHUNK_CHARACTERS = 1 << 20
Layout = Literal["words", "lines"]


@dataclass(frozen=True)
class TokenChunk:
    """Some of a text.

    Attributes:
        tokens: Arrow texts [T].
        ends: For each sentence that ends here the number of tokens of this chunk up to its end, int64, ascending.
    """

    tokens: pa.Array
    ends: np.ndarray


def open_text(path: Path, encoding: str = "utf-8") -> TextIO:
    """A text file, or one in gzip by its name `.gz`.

    Raises:
        ValueError: If there is no such file, or it is empty.
    """
    check_file(path)
    without_mark = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding
    if path.suffix.lower() == ".gz":
        return io.TextIOWrapper(gzip.GzipFile(path), encoding=without_mark)
    return path.open(encoding=without_mark)


def numbered_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Each line's number, from 1, and its text without the end of line.

    Raises:
        ValueError: If the file is not readable as text.
    """
    number = 0
    try:
        with open_text(path, encoding) as lines:
            for number, line in enumerate(lines, 1):
                yield number, line.rstrip("\n")
    except (UnicodeError, LookupError) as error:
        raise ValueError(
            f'{path}, after line {number}: not text in encoding "{encoding}"; give its own encoding'
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}, after line {number}: broken gzip ({error}); copy the file again") from error


def token_chunks(
    path: str | Path,
    layout: Layout = "words",
    end: str | None = None,
    encoding: str = "utf-8",
    chunk_characters: int = CHUNK_CHARACTERS,
) -> Iterator[TokenChunk]:
    """Read a text in chunks of whole lines.

    Args:
        path: Text file, `.gz` or not.
        layout: "words": each line is a sentence of words with white space between them; "lines": one token a line, a
            blank line ends a sentence. A sentence without a token is none.
        end: A token to be put after each sentence, as language models do; None for none.
        encoding: Any name that Python knows.
        chunk_characters: About how many characters to hold at once.

    Raises:
        ValueError: If the file is not readable as text.
    """
    parse = _words if layout == "words" else _lines
    held: list[str] = []
    size, is_open = 0, False
    for _, line in numbered_lines(Path(path), encoding):
        held.append(line)
        size += len(line) + 1
        if size >= chunk_characters:
            chunk, is_open = parse(held, is_open)
            yield _with_end(chunk, end)
            held, size = [], 0
    chunk, is_open = parse([*held, ""], is_open)  # the end of the file ends its last sentence
    yield _with_end(chunk, end)


def encode_text(
    path: str | Path,
    vocabulary: Vocabulary,
    layout: Layout = "words",
    end: str | None = None,
    encoding: str = "utf-8",
) -> Sequences:
    """The sentences of a text as ids, "token" int32; holds the ids, and a chunk of the text at a time.

    Raises:
        ValueError: If the file is not readable as text, or holds no token.
    """
    ids, ends, total = [], [np.zeros(1, np.int64)], 0
    for chunk in token_chunks(path, layout, end, encoding):
        ids.append(vocabulary.encode(chunk.tokens))
        ends.append(chunk.ends + total)
        total += len(chunk.tokens)
    if total == 0:
        raise ValueError(f"{path} holds no token; give a text with words in it")
    return from_offsets({"token": np.concatenate(ids)}, np.concatenate(ends))


def _words(lines: list[str], is_open: bool) -> tuple[TokenChunk, bool]:  # noqa: ARG001 - a line is never half read
    lists = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pa.array(lines, pa.large_string())))
    tokens = lists.flatten()
    kept = np.asarray(pc.not_equal(tokens, "").to_numpy(zero_copy_only=False), bool)  # an empty line is split into [""]
    counts = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    ends = counts[np.asarray(lists.offsets.to_numpy(zero_copy_only=False), np.int64)]
    return TokenChunk(tokens.filter(pa.array(kept)), _distinct(ends[1:], 0)), False


def _lines(lines: list[str], is_open: bool) -> tuple[TokenChunk, bool]:
    tokens = pc.utf8_trim_whitespace(pa.array(lines, pa.large_string()))
    kept = np.asarray(pc.not_equal(tokens, "").to_numpy(zero_copy_only=False), bool)
    before = np.cumsum(kept)[~kept]
    # A blank line at the start of a chunk ends the sentence of the chunk before.
    ends = _distinct(before, -1 if is_open else 0)
    still_open = bool(kept[-1]) or (is_open and not len(ends))
    return TokenChunk(tokens.filter(pa.array(kept)), ends), still_open


def _distinct(ends: np.ndarray, floor: int) -> np.ndarray:
    """Ends of sentences that hold a token: each above the one before, the first above `floor`."""
    return np.asarray(ends[np.diff(ends, prepend=floor) > 0], np.int64)


def _with_end(chunk: TokenChunk, end: str | None) -> TokenChunk:
    if end is None:
        return chunk
    order = np.insert(np.arange(len(chunk.tokens)), chunk.ends, len(chunk.tokens))
    tokens = pa.concat_arrays([chunk.tokens, pa.array([end], pa.large_string())]).take(pa.array(order))
    return TokenChunk(tokens, chunk.ends + np.arange(1, len(chunk.ends) + 1))
