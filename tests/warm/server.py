"""A process that has imported all that trains, and forks itself for each command that it is asked to run."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.util
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import threading
import traceback

MODULES = (
    "torch.distributed.run", "lightgbm", "optuna", "ludocast.recipes.churn", "ludocast.recipes.evaluate",
    "ludocast.recipes.lightning", "ludocast.recipes.recommend", "ludocast.recipes.segment",
    "ludocast.recipes.sequence", "ludocast.recipes.table",
)  # fmt: skip


def serve(address: str) -> list[str]:
    """Does not return but in a forked process: what that one has to run.

    Ends with the process that started it, which holds the other end of the standard input, and removes the folder of
    its socket then.
    """
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for who watches
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                shutil.rmtree(os.path.dirname(address))
                sys.exit()
            connection, _ = listening.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return watched(connection)


def watched(connection: socket.socket) -> list[str]:
    """Fork who is to run the command, and watch over it: it dies with who asked, who is told of its end."""
    size, files, _, _ = socket.recv_fds(connection, 10, 3)
    request = json.loads(connection.makefile("rb").read(int(size)))
    process = os.fork()
    if process == 0:
        connection.close()
        return prepared(request["words"], request["folder"], request["environment"], files)
    for file in files:
        os.close(file)
    with contextlib.suppress(OSError):  # who asked may be gone
        connection.sendall(f"{process}\n".encode())
    threading.Thread(target=end_with, args=(connection, process), daemon=True).start()
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(OSError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def end_with(connection: socket.socket, process: int) -> None:
    connection.recv(1)
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.kill(process, signal.SIGKILL)


def prepared(words: list[str], folder: str, environment: dict[str, str], files: list[int]) -> list[str]:
    """Words of the command; folder, environment and streams are as they would be for a Python that began here."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what starts in the background has it ignored
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.executable, *words = words
    if words[0] == "-u":
        words.pop(0)
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    return words


def run(words: list[str]) -> None:
    """As `python -m`, `python -c` and `python FILE` do."""
    first, *rest = words
    sys.path[0] = os.getcwd()
    if first == "-c":
        sys.argv = words
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = os.path.dirname(first)
        runpy.run_path(first, run_name="__main__")


def ended(words: list[str]) -> int:
    """The exit code of what was run, as Python tells it."""
    try:
        run(words)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return 0 if end.code is None else end.code
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    for name in MODULES:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)
    code = ended(serve(sys.argv[1]))
    atexit._run_exitfuncs()
    sys.stdout.flush()
    # ONNX Runtime's own end waits for a thread that a forked process does not have.
    os._exit(code)
