"""From a game's logs to served predictions."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout the folders `models`, `datamodules`, … lie beside this package; in a wheel they lie inside it.
if not (Path(__file__).parent / "models").is_dir():
    __path__.append(str(Path(__file__).parent.parent))
