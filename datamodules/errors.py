"""What an error says, in a line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line with words in it, without a full stop; the error's kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
