"""What a recipe says where there is no room for what it writes."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from ludocast.recipes.run_folder import RunFolder

NO_SPACE = {
    errno.ENOSPC: "the disk is full; free some space, or choose another --out",
    errno.EDQUOT: "your share of the disk is full; free some space, or choose another --out",
    errno.EFBIG: "a file would be larger than is allowed here (ulimit -f); allow more, or choose another --out",
}


@contextlib.contextmanager
def telling_of_no_space(folder: RunFolder) -> Iterator[None]:
    """Discard the work folder where the disk is full, and say so.

    Raises:
        OSError: In place of the writer's own error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        folder.discard()
        raise OSError(error.errno, f"{NO_SPACE[error.errno]}; nothing was kept", str(folder.out)) from error
