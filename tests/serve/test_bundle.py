"""The bundle: written whole or not at all; loaded only when each file and each check row is as recorded."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ludocast.serve.bundle import Bundle, write_bundle
from ludocast.serve.check_rows import check_rows
from ludocast.serve.check_sequences import UNSEEN
from ludocast.serve.manifest import FORMAT, Input

from tests.serve.logistic import TERMS, by_hand, logistic_model, write_logistic, write_softmax

ROOT = Path(__file__).parent.parent.parent
FIELDS: dict[str, Any] = {
    "name": "demo", "inputs": [term.input for term in TERMS], "classes": ["N", "Y"], "positive": "Y", "threshold": 0.5,
}  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_logistic(tmp_path / "b")


def document(bundle: Path) -> Any:
    return json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))


def rewrite(bundle: Path, **changes: Any) -> None:
    text = json.dumps({**document(bundle), **changes}, ensure_ascii=False)
    (bundle / "bundle.json").write_text(text, encoding="utf-8")


def refusal(bundle: Path) -> str:
    """The sentence with which a bundle is refused, its own name at the head taken off."""
    with pytest.raises(ValueError, match="bundle") as caught:
        Bundle.load(bundle)
    sentence = str(caught.value)
    assert sentence.startswith(f"bundle {bundle}: ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"bundle {bundle}: ")


# What is written.


def test_a_bundle_holds_its_model_its_hash_and_what_was_said_of_it(tmp_path: Path) -> None:
    model = logistic_model()
    written = write_bundle(
        tmp_path / "b", model, metrics={"auc": 0.9}, libraries={"onnx": "1"}, data_sha256="d", git_revision="g",
        extra_files={"notes/a.txt": b"abc"}, **FIELDS,
    )  # fmt: skip
    loaded = Bundle.load(tmp_path / "b").manifest
    assert loaded == written
    sha256 = hashlib.sha256(model).hexdigest()
    assert loaded.version == sha256[:12]
    # SHA-256 of "abc" as FIPS 180-2, appendix B.1, has it.
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert loaded.files == {"model.onnx": sha256, "notes/a.txt": known}
    assert (loaded.metrics, loaded.libraries, loaded.data_sha256, loaded.git_revision) == (
        {"auc": 0.9},
        {"onnx": "1"},
        "d",
        "g",
    )
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["b/bundle.json", "b/model.onnx", "b/notes/a.txt"]
    assert document(tmp_path / "b")["format"] == 1


def test_a_version_may_be_given(tmp_path: Path) -> None:
    assert Bundle.load(write_logistic(tmp_path / "b", version="7.1")).manifest.version == "7.1"


def test_check_rows_are_recorded_with_what_they_give_by_hand(bundle: Path) -> None:
    recorded = Bundle.load(bundle).manifest.check_rows
    assert len(recorded.rows) == 10
    days = {"2023-11-19T22:13:20Z": 5.0, "2023-11-17T10:13:20Z": 2.5, "2023-11-22T10:13:20Z": 7.5}
    days |= {
        "2023-11-14T22:13:20Z": 0.0,
        "2023-11-24T22:13:20Z": 10.0,
        "2023-12-04T22:13:20Z": 20.0,
        "2023-11-04T22:13:20Z": -10.0,
    }
    for row, label, p in zip(recorded.rows, recorded.label, recorded.probabilities, strict=True):
        plan = "" if row["plan"] is None else row["plan"]
        active = "" if row["active"] is None else str(row["active"]).lower()
        wanted = by_hand(row["age"], plan, active, None if row["last seen "] is None else days[row["last seen "]])
        np.testing.assert_allclose(p, [1 - wanted, wanted], atol=1e-6)
        assert label == ("Y" if wanted >= 0.5 else "N")


def test_check_rows_hold_the_usual_the_extremes_the_missing_and_the_unseen() -> None:
    rows = check_rows([Input("age", "x0", "number", None, (10, 60)), Input("plan", "x1", "category", ("basic", "pro"))])
    # Middle, quarters, both ends; all missing; beyond either end and never seen; one half missing, then the other.
    assert [row["age"] for row in rows] == [35, 22, 48, 10, 60, None, 110, -40, 35, None]
    assert [row["plan"] for row in rows[:2]] == ["basic", "basic"]
    assert {row["plan"] for row in rows[1:5]} == {"basic", "pro"}
    assert [row["plan"] for row in rows[5:]] == [None, UNSEEN, UNSEEN, None, rows[1]["plan"]]


def test_check_rows_come_from_the_inputs_alone() -> None:
    # Inputs that know of no value (with --private a column may have none in clear) still make rows of their kind.
    inputs = [Input(kind, f"x{i}", kind) for i, kind in enumerate(("number", "category", "boolean", "timestamp"))]
    for row in check_rows(inputs):
        assert set(row) == {"number", "category", "boolean", "timestamp"}
        assert row["category"] in (UNSEEN, None)
        assert row["boolean"] in (True, None)
        assert row["timestamp"] is None or str(row["timestamp"]).startswith(
            ("1970-01-01T00:00:0", "1969-12-31T23:59:59")
        )


def test_times_beyond_the_calendar_are_written_as_seconds() -> None:
    rows = check_rows([Input("t", "x0", "timestamp", None, (0, 1e12))])
    assert rows[3]["t"] == "1970-01-01T00:00:00Z"
    assert rows[4]["t"] == 1e12


# What is refused at loading.


def test_a_damaged_model_is_refused(bundle: Path) -> None:
    model = bytearray((bundle / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(model)
    assert refusal(bundle) == (
        "its file model.onnx is damaged (other SHA-256 than recorded); copy the bundle again, or export it again"
    )


def test_a_cut_off_model_is_refused(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:-1])
    assert "model.onnx is damaged" in refusal(bundle)


def test_a_wrong_hash_is_refused(bundle: Path) -> None:
    rewrite(bundle, files={"model.onnx": "0" * 64})
    assert "model.onnx is damaged" in refusal(bundle)


def test_a_missing_file_is_refused(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    wanted = "its file model.onnx is missing; copy the bundle whole, or export the model again"
    assert refusal(bundle) == wanted
    (bundle / "model.onnx").mkdir()
    assert refusal(bundle) == wanted


def test_a_damaged_extra_file_is_refused(tmp_path: Path) -> None:
    bundle = write_logistic(tmp_path / "b", extra_files={"notes/a.txt": b"abc"})
    (bundle / "notes" / "a.txt").write_bytes(b"abd")
    assert "its file notes/a.txt is damaged" in refusal(bundle)


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: b"\x80" + text, lambda text: text[:0]])
def test_a_damaged_manifest_is_refused(bundle: Path, damage: Callable[[bytes], bytes]) -> None:
    (bundle / "bundle.json").write_bytes(damage((bundle / "bundle.json").read_bytes()))
    assert refusal(bundle).startswith("bundle.json is not JSON (")


def test_a_giant_manifest_is_refused_before_it_is_read(bundle: Path) -> None:
    os.truncate(bundle / "bundle.json", 1 << 40)  # a hole: nothing is written
    assert refusal(bundle) == "bundle.json is larger than 64 MB; export the model again"


def test_a_newer_format_is_refused(bundle: Path) -> None:
    rewrite(bundle, format=FORMAT + 1)
    assert refusal(bundle).endswith("install a newer ludocast (pip install --upgrade ludocast)")


def test_what_is_no_bundle_is_told_where_one_is(bundle: Path, tmp_path: Path) -> None:
    hint = "give the folder that training wrote as RUN/bundle"
    assert refusal(tmp_path / "nothing") == f"there is no such folder; {hint}"
    (tmp_path / "file").write_text("x")
    assert refusal(tmp_path / "file") == f"there is no such folder; {hint}"
    assert refusal(tmp_path) == f"bundle.json is missing in it; {hint}"
    bundle.rename(tmp_path / "bundle")
    assert refusal(tmp_path) == f"bundle.json is missing in it; is it {tmp_path / 'bundle'}?"


def test_check_rows_that_are_not_reproduced_are_refused(bundle: Path) -> None:
    rows = document(bundle)["check_rows"]
    rows["probabilities"][2][0] += 2e-4
    rewrite(bundle, check_rows=rows)
    assert refusal(bundle).startswith("it does not reproduce its check rows: row 3 gives [")
    rows["probabilities"][2][0] -= 1.5e-4  # within 1e-4: another machine's rounding
    rewrite(bundle, check_rows=rows)
    assert Bundle.load(bundle).manifest.name == "demo"


def test_a_label_that_is_not_reproduced_is_refused(bundle: Path) -> None:
    rows = document(bundle)["check_rows"]
    rows["label"][0] = {"N": "Y", "Y": "N"}[rows["label"][0]]
    rewrite(bundle, check_rows=rows)
    assert refusal(bundle).startswith('it does not reproduce its check rows: row 1 gives the label "')


def test_a_label_may_turn_where_the_probability_stands_at_the_threshold(bundle: Path) -> None:
    rows = document(bundle)["check_rows"]
    rows["label"][0] = {"N": "Y", "Y": "N"}[rows["label"][0]]
    rewrite(bundle, check_rows=rows, threshold=rows["probabilities"][0][1] + 5e-5)
    assert Bundle.load(bundle).manifest.check_rows.label[0] == rows["label"][0]


def test_a_model_of_other_probabilities_is_refused_though_its_hash_is_right(bundle: Path) -> None:
    other = logistic_model(bias=-1.0)
    (bundle / "model.onnx").write_bytes(other)
    rewrite(bundle, files={"model.onnx": hashlib.sha256(other).hexdigest()})
    assert refusal(bundle).startswith("it does not reproduce its check rows: row 1 gives [")


def with_model(bundle: Path, model: bytes) -> None:
    (bundle / "model.onnx").write_bytes(model)
    rewrite(bundle, files={"model.onnx": hashlib.sha256(model).hexdigest()})


def test_a_model_of_other_inputs_is_refused(bundle: Path) -> None:
    with_model(bundle, logistic_model(TERMS[:3]))
    assert refusal(bundle) == (
        "input x3 is absent in model.onnx and tensor(double) in bundle.json; export the model again"
    )


def test_a_model_of_other_outputs_is_refused(bundle: Path) -> None:
    model = onnx.load_from_string(logistic_model())
    model.graph.output.pop(0)
    with_model(bundle, model.SerializeToString())
    assert refusal(bundle) == "model.onnx has not the outputs label and probabilities; export the model again"


def test_check_rows_that_do_not_fit_are_refused(bundle: Path) -> None:
    rows = document(bundle)["check_rows"]
    for change, said in (({"age": "abc"}, 'expected a number, got "abc"'), ({"plan": [1]}, 'expected text, got "[1]"')):
        other = {**rows, "rows": [{**rows["rows"][0], **change}, *rows["rows"][1:]]}
        rewrite(bundle, check_rows=other)
        column = next(iter(change))
        wanted = f'row 1, column "{column}": {said}'
        assert refusal(bundle) == f"its check rows do not fit its inputs ({wanted}); export the model again"


# Tricks.


def test_links_to_outside_the_folder_are_refused(bundle: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "bundle.json"):
        (bundle / name).rename(tmp_path / name)
        (bundle / name).symlink_to(tmp_path / name)
        assert refusal(bundle) == f"its file {name} is a link to outside the folder; copy the bundle whole"
        (bundle / name).unlink()
        (tmp_path / name).rename(bundle / name)
    assert Bundle.load(bundle)


def test_a_folder_in_between_may_not_lead_outside(tmp_path: Path) -> None:
    bundle = write_logistic(tmp_path / "b", extra_files={"notes/a.txt": b"abc"})
    (bundle / "notes").rename(tmp_path / "notes")
    (bundle / "notes").symlink_to(tmp_path / "notes")
    assert refusal(bundle) == "its file notes/a.txt is a link to outside the folder; copy the bundle whole"


def test_links_in_a_circle_are_refused(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx").symlink_to("model.onnx")
    assert refusal(bundle).startswith("its file model.onnx is ")


def test_links_inside_the_folder_and_to_the_folder_are_followed(bundle: Path, tmp_path: Path) -> None:
    # As orchestrators mount files.
    (bundle / "..data").mkdir()
    (bundle / "model.onnx").rename(bundle / "..data" / "model.onnx")
    (bundle / "model.onnx").symlink_to("..data/model.onnx")
    (tmp_path / "latest").symlink_to(bundle)
    assert Bundle.load(tmp_path / "latest").manifest.name == "demo"


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret"])
def test_a_path_that_leaves_the_folder_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"abc")
    rewrite(bundle, files={**document(bundle)["files"], name: "a" * 64})
    wanted = f'bundle.json: the file name "{name}" does not stay inside the bundle\'s folder'
    assert refusal(bundle) == wanted


def test_a_name_longer_than_the_file_system_takes_is_one_sentence(bundle: Path) -> None:
    rewrite(bundle, files={**document(bundle)["files"], "a" * 5000: "a" * 64})
    assert refusal(bundle).endswith("File name too long")


def test_weights_outside_the_model_are_refused(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No hash would cover them.
    monkeypatch.chdir(tmp_path)
    for location in ("weights.bin", str(tmp_path / "weights.bin"), "../weights.bin"):
        model = onnx.load_from_string(logistic_model())
        weight = model.graph.initializer[0]
        (tmp_path / "weights.bin").write_bytes(weight.raw_data)
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "4")):
            weight.external_data.add(key=key, value=value)
        with_model(bundle, model.SerializeToString())
        assert refusal(bundle).startswith("onnxruntime cannot load model.onnx (")


class Harm:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_in_a_bundle_is_never_unpickled(bundle: Path, tmp_path: Path) -> None:
    harmful = pickle.dumps(Harm(tmp_path / "harmed"))
    with_model(bundle, harmful)
    assert refusal(bundle).startswith("onnxruntime cannot load model.onnx (")
    (bundle / "bundle.json").write_bytes(harmful)
    assert refusal(bundle).startswith("bundle.json is not JSON (")
    assert not (tmp_path / "harmed").exists()
    pickle.loads(harmful)  # the trap itself works
    assert (tmp_path / "harmed").exists()


def test_loading_unpickles_nothing_and_loads_no_training_library(bundle: Path) -> None:
    code = f"""
import sys
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event) if event.startswith(("pickle.", "marshal.loads")) else None)
from ludocast.serve.bundle import Bundle
seen.clear()  # imports read compiled modules
assert Bundle.load({str(bundle)!r}).manifest.name == "demo"
assert not [event for event in seen if event.startswith("pickle.")], seen
heavy = {{"torch", "pandas", "lightning", "pytorch_lightning", "sklearn", "scipy", "onnx", "jinja2"}} & set(sys.modules)
assert not heavy, heavy
import pickle, collections
pickle.loads(pickle.dumps(collections.OrderedDict()))
assert "pickle.find_class" in seen  # the hook sees what it is there for
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# What is refused at writing, and what a writer that stops leaves.


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": b"no model"}, "onnxruntime cannot load model.onnx ("),
        ({"inputs": [term.input for term in TERMS[:2]]}, "input x2 is tensor(string) in model.onnx and absent in bundle.json"),
        ({"classes": ["N", "Y", "Z"], "positive": None}, "the model answers shapes (10,) and (10, 2), not (10,) and (10, 3)"),
        ({"classes": ["N", "yes"], "positive": "yes"}, "the model answers labels that are no classes"),
        ({"positive": "Z"}, '"positive" has to be one of two classes, or null'),
        ({"metrics": {"auc": float("nan")}}, "bundle.json cannot hold this"),
        ({"extra_files": {"../a": b""}}, "does not stay inside the bundle's folder"),
        ({"extra_files": {"model.onnx": b""}}, "give the extra file another name"),
        ({"extra_files": {"bundle.json": b""}}, "give the extra file another name"),
    ],
)  # fmt: skip
def test_what_would_not_load_is_not_written(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    fields = {"model": logistic_model(), **FIELDS, **changes}
    with pytest.raises(ValueError, match="bundle") as caught:
        write_bundle(tmp_path / "b", **fields)
    assert sentence in str(caught.value)
    assert left(tmp_path) == []


def test_a_model_that_answers_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="probabilities that are no numbers"):
        write_bundle(tmp_path / "b", logistic_model(bias=float("nan")), **FIELDS)
    assert left(tmp_path) == []


def test_an_existing_bundle_is_kept_or_replaced_whole(tmp_path: Path) -> None:
    write_logistic(tmp_path / "b", extra_files={"old.txt": b"old"})
    with pytest.raises(ValueError, match="exists already; remove it, or overwrite it"):
        write_logistic(tmp_path / "b", name="new")
    assert Bundle.load(tmp_path / "b").manifest.name == "demo"
    write_logistic(tmp_path / "b", name="new", overwrite=True)
    assert Bundle.load(tmp_path / "b").manifest.name == "new"
    assert left(tmp_path / "b") == ["bundle.json", "model.onnx"]
    assert left(tmp_path) == ["b"]


def test_a_folder_that_is_no_bundle_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="exists and is no bundle, so it is not overwritten"):
        write_logistic(tmp_path / "photos", overwrite=True)
    assert left(tmp_path / "photos") == ["a.jpg"]


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    assert Bundle.load(write_softmax(tmp_path / "a" / "b" / "c")).manifest.classes == ("a", "b", "c")


WRITER = """
import resource, signal, sys
from pathlib import Path
from tests.serve.logistic import write_logistic
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
signal.signal(signal.SIGXFSZ, {action})
write_logistic(Path("b"), name="new", overwrite=True, extra_files={{"large.bin": b"x" * 200_000}})
"""


def write_beyond_the_limit(folder: Path, action: str) -> subprocess.CompletedProcess[str]:
    """A writer that comes upon a limit of 100,000 bytes in the midst of its last file."""
    return subprocess.run(
        [sys.executable, "-c", WRITER.format(action=action)], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize("before", [False, True])
def test_a_writer_killed_in_the_midst_leaves_no_bundle_and_no_harm(tmp_path: Path, before: bool) -> None:
    if before:
        write_logistic(tmp_path / "b")
    done = write_beyond_the_limit(tmp_path, "signal.SIG_DFL")  # the kernel kills it as it writes
    assert done.returncode == -signal.SIGXFSZ, done.stderr
    half = [path for path in tmp_path.iterdir() if path.name != "b"]
    assert [path.name.split(".")[1] for path in half] == ["b"]  # hidden, and under no name that anyone loads
    assert (half[0] / "large.bin").stat().st_size == 100_000
    assert (tmp_path / "b").exists() is before
    if before:
        assert Bundle.load(tmp_path / "b").manifest.name == "demo"
    write_logistic(tmp_path / "b", name="later", overwrite=True)
    assert Bundle.load(tmp_path / "b").manifest.name == "later"


@pytest.mark.parametrize("before", [False, True])
def test_a_writer_without_space_leaves_nothing(tmp_path: Path, before: bool) -> None:
    if before:
        write_logistic(tmp_path / "b")
    done = write_beyond_the_limit(tmp_path, "signal.SIG_IGN")  # the write fails with an error instead
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert left(tmp_path) == (["b"] if before else [])
    if before:
        assert Bundle.load(tmp_path / "b").manifest.name == "demo"


def test_what_a_killed_process_of_the_same_number_left_is_replaced(tmp_path: Path) -> None:
    # In a container the writer often has the same process number each time.
    half = tmp_path / f".b.{os.getpid()}.partial"
    half.mkdir()
    (half / "half.bin").write_bytes(b"x")
    assert left(write_logistic(tmp_path / "b")) == ["bundle.json", "model.onnx"]
    assert left(tmp_path) == ["b"]


def test_a_copied_bundle_is_the_same(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "copy")
    assert Bundle.load(tmp_path / "copy").manifest == Bundle.load(bundle).manifest
