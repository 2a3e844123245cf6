"""What a bundle tells of where it comes from."""

from __future__ import annotations

import subprocess
from importlib.metadata import version

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
