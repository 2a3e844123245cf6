"""What a table is written in: by the suffix of its file, or as the user says."""

from __future__ import annotations

from pathlib import Path

STREAM = Path("-")  # standard input or output
FORMATS = ("csv", "parquet", "jsonl", "xlsx")
PARQUET = (".parquet", ".pq")
_SUFFIXES = {
    **dict.fromkeys(PARQUET, "parquet"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    ".xlsx": "xlsx",
}
TEXTS = ("csv", "xlsx")  # formats whose cells hold no lists: those are JSON arrays in text


def format_of(path: Path, named: str | None = None) -> str:
    """One of `FORMATS`: of a folder "parquet", of an unknown suffix "csv".

    Args:
        path: Of the table; `STREAM` for standard input and output.
        named: What the user calls it; for `STREAM` and for a suffix that tells nothing.

    Raises:
        ValueError: If the name is none of `FORMATS`.
    """
    if named is not None and named not in FORMATS:
        raise ValueError(f'--format is one of {", ".join(FORMATS)}, got "{named}"')
    if path.is_dir():
        return "parquet"
    suffix = Path(path.stem).suffix if is_packed(path) else path.suffix
    found = _SUFFIXES.get(suffix.lower())
    if found is not None:
        return found
    return "csv" if named is None or suffix.lower() == ".csv" else named


def is_packed(path: Path) -> bool:
    """Whether a file is compressed by gzip."""
    return path.suffix.lower() == ".gz"
