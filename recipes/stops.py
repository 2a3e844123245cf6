"""What a recipe says where it ends before all is done."""

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
def telling_of_stops(folder: RunFolder) -> Iterator[None]:
    """Where the disk is full, discard the work folder and say so; on Ctrl-C say how to go on.

    Raises:
        OSError: In place of the writer's own error.
        KeyboardInterrupt: On Ctrl-C.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        folder.discard()
        raise OSError(error.errno, f"{NO_SPACE[error.errno]}; nothing was kept", str(folder.out)) from error
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning makes the one into the other
        if folder.resume is None:
            folder.discard()
            print("\nstopped; nothing was kept", flush=True)
            raise KeyboardInterrupt from stop
        print(f"\nstopped; --resume goes on with {folder.partial}", flush=True)
        raise KeyboardInterrupt from stop
