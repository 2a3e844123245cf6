"""A process that runs TorchServe and ends with whoever started it, taking Java and all workers along.

`python -m ludocast.serve.torchserve.guard COMMAND …`. TorchServe's own `--stop` returns before its processes have
ended, and says nothing to those of a parent that was killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from ludocast.serve.backends.parent import end_with_parent


def main() -> None:
    """Run until TorchServe, or the parent, has ended."""
    os.setpgid(0, 0)  # one group of all that is started from here on
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.killpg(0, signal.SIGKILL))
    end_with_parent(signal.SIGTERM)
    code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL)
    sys.stderr.write(f"TorchServe has ended with {code}\n")
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
