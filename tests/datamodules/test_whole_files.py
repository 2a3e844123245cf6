"""Files and folders appear whole or not at all; what an error says fits a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ludocast.datamodules.errors import first_line
from ludocast.datamodules.whole_files import put_folder, replacing, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_whole(path, b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["page.html"]


def test_what_fails_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_whole(path, b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", "text"])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["page.html"]


def test_a_process_that_is_killed_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_whole(path, b"old")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom ludocast.datamodules.whole_files import replacing\n"
        "with replacing(Path(sys.argv[1])) as file:\n    file.write(b'half')\n    file.flush()\n    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ, check=False).returncode == -9
    assert path.read_bytes() == b"old"


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for name in ("run", "run.partial", "run.partial.replaced"):  # the last one of a process that was killed here
        (tmp_path / name).mkdir()
        (tmp_path / name / "of").write_text(name)
    put_folder(tmp_path / "run.partial", tmp_path / "run")
    assert names(tmp_path) == ["run"]
    assert (tmp_path / "run" / "of").read_text() == "run.partial"
    with pytest.raises(FileNotFoundError):
        put_folder(tmp_path / "gone", tmp_path / "run")
    assert (tmp_path / "run" / "of").read_text() == "run.partial"
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n  first.\nsecond"), "first"),
        (ValueError(""), "ValueError"),
        (KeyError("a"), "'a'"),
        (OSError(2, "No such file"), "[Errno 2] No such file"),
    ],
)
def test_what_an_error_says_fits_a_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
