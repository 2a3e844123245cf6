"""Where a run comes from: what a bundle tells of it, and of what data."""

from __future__ import annotations

import hashlib
import json
import subprocess
from importlib.metadata import version
from pathlib import Path

from ludocast import __version__


def libraries() -> dict[str, str]:
    """Versions of what trained."""
    names = ("torch", "pytorch-lightning", "scikit-learn", "onnx", "onnxruntime", "numpy", "pandas")
    return {"ludocast": __version__, **{name: version(name) for name in names}}


def git_revision() -> str | None:
    """Of the working folder; None where there is none."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def digest(path: Path) -> str:
    """SHA-256 of a file; of a folder that of its files' names and digests."""
    if not path.is_dir():
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    files = {str(file.relative_to(path)): digest(file) for file in sorted(path.rglob("*")) if file.is_file()}
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
