"""A bundle as TorchServe's archive, `.mar`: for the server that starts TorchServe, and for those who run their own."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from ludocast.serve.bundle import MANIFEST_FILE, Bundle
from ludocast.serve.manifest import Manifest

HANDLER = Path(__file__).parent / "ludocast_handler.py"
MISSING = "this needs TorchServe: pip install 'ludocast[torchserve]'"
# Requests of other clients are batched by TorchServe.
_CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 64\nmaxBatchDelay: 2\nresponseTimeout: 60\n"


def export_torchserve(bundle: Path, out: Path, overwrite: bool = False) -> None:
    """Write a bundle as an archive for a TorchServe of your own.

    TorchServe's Python needs `pip install ludocast` beside it. The archive takes the same JSON as POST /predict and
    answers the same. Start it, for instance, with `torchserve --start --model-store FOLDER --models model=model.mar`.

    Example: ludocast export torchserve --bundle run/bundle --out model.mar

    Args:
        bundle: Folder of the bundle, RUN/bundle of a training.
        out: The archive, a file that ends in .mar.
        overwrite: Replace an archive that is there.
    """
    if out.suffix != ".mar":
        raise ValueError(f"an archive's name ends in .mar; write {out.with_suffix('.mar')}")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} is there already; give another name, or --overwrite")
    manifest = Bundle.load(bundle).manifest  # a damaged one would fail in TorchServe, far from here
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        write_archive(bundle, manifest, out.stem, Path(folder), _CONFIG).replace(out)
    print(f"{out}: {manifest.name} {manifest.version}, {out.stat().st_size >> 10:,} kB")


def write_archive(bundle: Path, manifest: Manifest, name: str, folder: Path, config: str) -> Path:
    """An archive of a bundle.

    Args:
        bundle: Folder of the bundle.
        manifest: Of it.
        name: Of the model in TorchServe.
        folder: Where `name`.mar is written.
        config: YAML of the model: workers, batches, time-outs.

    Raises:
        ValueError: If TorchServe's archiver is not installed, or takes no such name.
    """
    try:
        from model_archiver import ModelArchiver, ModelArchiverConfig
    except ModuleNotFoundError as error:
        raise ValueError(MISSING) from error
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(f'TorchServe takes letters, digits, ".", "_" and "-" in a model\'s name, not "{name}"')
    with tempfile.TemporaryDirectory() as work:
        # Only the bundle's own files, whatever else lies beside them.
        for file in (MANIFEST_FILE, *manifest.files):
            target = Path(work) / "bundle" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / file, target)
        yaml = Path(work) / "model-config.yaml"
        yaml.write_text(config, encoding="utf-8")
        ModelArchiver.generate_model_archive(
            ModelArchiverConfig(
                model_name=name,
                version=manifest.version,
                handler=str(HANDLER),
                extra_files=str(Path(work) / "bundle"),
                config_file=str(yaml),
                export_path=str(folder),
                force=True,
            )
        )
    return folder / f"{name}.mar"
