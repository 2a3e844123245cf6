"""Guards of the frame: who imports whom, what is in the wheel, how fast the command line answers."""

from __future__ import annotations

import ast
import os
import resource
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("compression", "configs", "datamodules", "models", "recipes", "serve")
MAY_IMPORT = {
    "compression": set(),
    "configs": set(),
    "datamodules": {"configs"},
    "models": {"configs", "datamodules", "compression"},
    "serve": {"configs", "datamodules", "models"},
    "recipes": {"configs", "datamodules", "models", "compression", "serve"},
}
# The serving side runs without torch, pandas and scikit-learn; only these of its files belong to training.
TRAINING_FILES = {
    *("export.py", "core.py", "report.py", "sequence_report.py", "recommend_report.py", "measured.py", "charts.py"),
    "evaluation_report.py",
    *("recommend_export.py", "graph_history.py", "graph_item_weights.py", "graph_candidates.py", "graph_because.py"),
    *("graph_contributions.py", "graph_candidate_network.py", "graph_options.py", "graph_sparse_weights.py"),
    *("graph_segments.py", "segments_export.py", "segments_report.py", "segment_charts.py"),
    *("core_recommend.py", "graph_stable_top.py", "graph_table.py", "number_report.py", "measured_numbers.py"),
    *("value_report.py", "value_charts.py", "search_report.py", "labels_report.py", "measured_labels.py"),
    *("graph.py", "graph_inputs.py", "graph_learners.py", "graph_events.py", "graph_recurrent.py", "graph_sequence.py"),
    *("graph_steps.py", "sequence_export.py", "core_sequence.py", "graph_players.py", "graph_cold_start.py"),
}
# A player's features are worked out from events by the bundle, with NumPy alone.
LIGHT_DATAMODULES = {"cells", "errors", "read", "schema", "feature_state", "etl.rules", "whole_files"}


def _sources(folder: str) -> Iterator[Path]:
    return (ROOT / folder).rglob("*.py")


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _folders(imports: set[str]) -> set[str]:
    return {name.split(".")[1] for name in imports if name.startswith("ludocast.") and name.split(".")[1] in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_follow_the_design(folder: str) -> None:
    for path in _sources(folder):
        assert _folders(_imports(path)) <= MAY_IMPORT[folder] | {folder}, path


def test_the_import_check_sees_a_wrong_import(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from ludocast.serve.bundle import Bundle\n    import ludocast.models.table\n")
    assert _folders(_imports(wrong)) == {"serve", "models"}


def test_serving_files_import_the_light_part_only() -> None:
    for path in _sources("serve"):
        if path.name in TRAINING_FILES:
            continue
        for name in _imports(path):
            top = name.split(".")
            assert top[0] not in {"torch", "pandas", "sklearn", "onnx", "pytorch_lightning", "scipy"}, (path, name)
            if top[:2] == ["ludocast", "models"]:
                raise AssertionError((path, name))
            if top[:2] == ["ludocast", "datamodules"] and len(top) > 2:
                assert {top[2], ".".join(top[2:4])} & LIGHT_DATAMODULES, (path, name)


def test_compression_has_no_init() -> None:
    assert not (ROOT / "compression" / "__init__.py").exists()


def test_typing_links_lead_to_the_folders() -> None:
    for folder in FOLDERS:
        assert (ROOT / ".typing" / "ludocast" / folder).resolve() == ROOT / folder


def test_every_folder_with_python_files_is_packaged() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    mapped = set(project["package-dir"].values())
    for folder in (*FOLDERS, "ludocast"):
        for path in _sources(folder):
            assert path.parent.relative_to(ROOT).as_posix() in mapped, path
    assert set(project["packages"]) == set(project["package-dir"])


def _build_wheel(folder: Path, **environment: str) -> Path:
    source = folder / "source"
    # A clean copy: what the working tree holds beside the sources must not matter.
    subprocess.run(
        ["git", "-C", str(ROOT), "checkout-index", "--all", f"--prefix={source}/"], check=True, capture_output=True
    )
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
    return next(folder.glob("*.whl"))


def _kernel_of(wheel: Path, folder: Path) -> str:
    """Which kernel and how many warnings a Python that has the wheel alone tells."""
    zipfile.ZipFile(wheel).extractall(folder)
    code = (
        # An editable installation beside it would lend its kernels to the namespace package.
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')]\n"
        "sys.path[:] = [path for path in sys.path if '__editable__' not in path]\n"
        "import warnings\nfrom ludocast.compression import quantise\n"
        "with warnings.catch_warnings(record=True) as told:\n    warnings.simplefilter('always')\n"
        "    kernel = quantise.kernel()\n    quantise.kernel()\n"
        "print(kernel, *(warning.message for warning in told), sep='|')"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder), "LUDOCAST_KERNEL": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_the_wheel_holds_ludocast_alone(tmp_path: Path) -> None:
    wheel = _build_wheel(tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ludocast"}
    wanted = {"ludocast/models/table/network.py", "ludocast/configs/churn.yaml", "ludocast/serve/report.html.jinja"}
    assert wanted <= set(names)
    assert not [name for name in names if name.endswith(("compression/__init__.py", ".c", ".h"))]
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: the kernels were not built")
    assert [name for name in names if name.startswith("ludocast/compression/_kernels.") and "pyi" not in name]
    assert "-cp311-abi3-" in wheel.name
    assert _kernel_of(wheel, tmp_path / "installed") in {"avx512", "avx2", "neon", "portable C"}


def test_a_wheel_without_a_compiler_runs_in_numpy_and_says_so_once(tmp_path: Path) -> None:
    wheel = _build_wheel(tmp_path, CC="false", CXX="false")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".so", ".pyd"))]
    kernel, warning = _kernel_of(wheel, tmp_path / "installed").split("|")
    assert kernel == "numpy"
    assert warning.startswith("ludocast.compression runs in numpy, slower: no C compiler built its kernels")


def test_help_is_light_and_quick() -> None:
    code = (
        "import sys\nfrom ludocast.__main__ import main\nassert main(['--help']) == 0\n"
        "heavy = {'torch', 'pandas', 'jsonargparse', 'onnxruntime', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "train churn" in done.stdout
    # Of the processor, which other tests beside this one do not lengthen.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_files_stay_readable() -> None:
    for folder in (*FOLDERS, "ludocast", "benchmarks"):
        for path in _sources(folder):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path
