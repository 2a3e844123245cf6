"""The work folder of a recipe: what is kept, what is discarded, and what a killed run left half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from ludocast.recipes.run_folder import RunFolder


def folder(tmp_path: Path, *, resume: bool = False, overwrite: bool = False) -> RunFolder:
    return RunFolder(tmp_path / "new" / "run", resume=resume, overwrite=overwrite)


def names(tmp_path: Path) -> list[str]:
    return sorted(path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*"))


def test_a_run_appears_when_it_is_done(tmp_path: Path) -> None:
    run = folder(tmp_path)
    (run.begin({"seed": 1}) / "report").write_text("r")
    assert names(tmp_path) == ["run.partial", "run.partial/experiment.yaml", "run.partial/report"]
    run.finish()
    assert names(tmp_path) == ["run", "run/experiment.yaml", "run/report"]


def test_overwriting_replaces_the_run_at_the_end(tmp_path: Path) -> None:
    for name, content in (("a", "first"), ("b", "second")):
        run = folder(tmp_path, overwrite=True)
        (run.begin({}) / name).write_text(content)
        if name == "b":
            assert (tmp_path / "new" / "run" / "a").read_text() == "first"
        run.finish()
    assert names(tmp_path) == ["run", "run/b", "run/experiment.yaml"]


def test_resuming_keeps_checkpoints_and_drops_a_half_written_bundle(tmp_path: Path) -> None:
    partial = folder(tmp_path).begin({"seed": 1, "exclude": ["id"]})
    (partial / "last.ckpt").write_text("c")
    (partial / ".bundle.4711.partial").mkdir()  # a process that was killed as it wrote
    (partial / ".bundle.4711.partial" / "model.onnx").write_text("half")
    assert folder(tmp_path, resume=True).begin({"seed": 1, "exclude": ["id"]}) == partial
    assert names(tmp_path) == ["run.partial", "run.partial/experiment.yaml", "run.partial/last.ckpt"]


def test_resuming_with_other_settings_is_refused_and_keeps_all(tmp_path: Path) -> None:
    partial = folder(tmp_path).begin({"seed": 1})
    (partial / "last.ckpt").write_text("c")
    with pytest.raises(ValueError, match="was begun with seed 1, now it is 2; give the same again, or --overwrite"):
        folder(tmp_path, resume=True).begin({"seed": 2})
    assert (partial / "last.ckpt").read_text() == "c"
    (partial / "experiment.yaml").write_text("{")
    with pytest.raises(ValueError, match=r"holds no readable experiment\.yaml; --overwrite discards it"):
        folder(tmp_path, resume=True).begin({"seed": 1})
    assert folder(tmp_path, overwrite=True).begin({"seed": 2}) == partial
    assert names(tmp_path) == ["run.partial", "run.partial/experiment.yaml"]


def test_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no .*run\.partial to resume"):
        folder(tmp_path, resume=True)
    folder(tmp_path).begin({})
    with pytest.raises(ValueError, match="--resume goes on with it, --overwrite discards it"):
        folder(tmp_path)
    (tmp_path / "new" / "run").mkdir()
    with pytest.raises(ValueError, match="run exists; choose another --out, or --overwrite"):
        folder(tmp_path)
    for name in ("/", ".", "a/.."):
        with pytest.raises(ValueError, match="names no folder of its own"):
            RunFolder(Path(name), resume=False, overwrite=False)
