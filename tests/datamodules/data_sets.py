"""Small Parquet data sets with parts, in several files and row groups, for the tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def made_frame(rows: int, seed: int = 0) -> pd.DataFrame:
    """Rows by time, as snapshots are: `number` tells them apart, `noise` has gaps, and `churned` follows from both."""
    generator = np.random.default_rng(seed)
    number, noise = np.arange(rows) / 7, generator.normal(size=rows)
    chance = 1 / (1 + np.exp(-2 * noise - np.sin(number)))
    noise[generator.random(rows) < 0.1] = np.nan
    parts = np.repeat(
        ["train", "none", "validation", "none", "test"], np.diff([0, *(rows * np.array(CUTS)).astype(int)])
    )
    return pd.DataFrame({"number": number, "noise": noise, "churned": generator.random(rows) < chance, "split": parts})


CUTS = (0.6, 0.65, 0.75, 0.8, 1.0)


def write_parts(frame: pd.DataFrame, folder: Path, files: int = 3, group_rows: int = 70) -> Path:
    """Write a frame as so many files of small row groups."""
    folder.mkdir(parents=True, exist_ok=True)
    table, size = pa.Table.from_pandas(frame, preserve_index=False), -(-len(frame) // files)
    for number in range(files):
        path = folder / f"part-{number:05d}.parquet"
        part = table.slice(number * size, size)
        pq.write_table(part, path, row_group_size=group_rows, compression="zstd", write_page_checksum=True)
    return folder


def spoil(file: Path, group: int, column: str) -> None:
    """Flip bits in the middle of a column of a row group."""
    metadata = pq.read_metadata(file)
    place = metadata.schema.names.index(column)
    chunk = metadata.row_group(group).column(place)
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    content = bytearray(file.read_bytes())
    content[start + chunk.total_compressed_size // 2] ^= 0xFF
    file.write_bytes(content)
