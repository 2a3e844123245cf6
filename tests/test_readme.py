"""Every command block of the README runs, in the order in which it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_command_blocks_run(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "ludocast").write_text(f'#!/bin/sh\nexec {sys.executable} -m ludocast "$@"\n')
    (tmp_path / "ludocast").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    blocks = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 4
    for kind, text in blocks:
        command = ["sh", "-ec", text] if kind == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    assert len((tmp_path / "game" / "scored.csv").read_text().splitlines()) == 2001
    assert (tmp_path / "game" / "core" / "preprocessing.json").is_file()
