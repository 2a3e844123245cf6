"""Stands for a Python whose work another process does: hands over its words, and passes signals and the end along."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Words: the server's socket, this program's own name, and what that Python is to run."""
    address, *words = sys.argv[1:]
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is somebody to pass them on to
    request = json.dumps({"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    socket.send_fds(connection, [f"{len(request):10}".encode()], [0, 1, 2])
    connection.sendall(request)
    told = connection.makefile()
    process = int(told.readline())
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(process, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    code = int(told.readline())
    if code < 0:
        if -code != signal.SIGKILL:  # which has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
