"""The bundle: a folder with the model and all that serving has to know, checked when written and when loaded."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from ludocast.datamodules.errors import first_line
from ludocast.datamodules.schema import MISSING_TOKENS
from ludocast.datamodules.whole_files import put_folder, sync_file, sync_folder
from ludocast.serve.check_answers import check_answers
from ludocast.serve.check_rows import check_rows
from ludocast.serve.device import CUDA, providers
from ludocast.serve.feeds import FeedReader
from ludocast.serve.manifest import MODEL_FILE, CheckRows, Input, Manifest, parse_manifest
from ludocast.serve.manifest_labels import LabelValues, labels_had
from ludocast.serve.manifest_sequences import PairColumns, SequenceInputs, StepGraph
from ludocast.serve.recommend_names import BECAUSE
from ludocast.serve.run import run_feeds
from ludocast.serve.sequence_feeds import SequenceReader
from ludocast.serve.taker import ManifestError
from ludocast.serve.tasks import Loss

MANIFEST_FILE = "bundle.json"
_LARGEST_MANIFEST = 64 << 20
_TENSOR_TYPES = {"float32": "tensor(float)", "float64": "tensor(double)", "string": "tensor(string)"}


@dataclass(frozen=True)
class Bundle:
    """A bundle whose hashes and check rows were found right."""

    folder: Path
    manifest: Manifest
    session: ort.InferenceSession
    reader: FeedReader | SequenceReader

    @staticmethod
    def load(folder: str | Path, threads: int = 1, device: str = "cpu") -> Bundle:
        """Load and try a bundle.

        Args:
            folder: With `bundle.json` and `model.onnx`.
            threads: That one call of the model may use.
            device: "cpu" or "cuda".

        Raises:
            ValueError: If it is damaged, too new, or does not reproduce its check rows.
        """
        folder = Path(folder)
        try:
            manifest = read_manifest(folder)
            session = open_model(read_model(folder, manifest, MODEL_FILE), manifest, threads, device)
            reader = reader_of(manifest)
            check_answers(manifest, *run_rows(session, reader, manifest))
        except ManifestError as error:
            raise ValueError(f"bundle {folder}: {error}") from error
        except OSError as error:
            raise ValueError(f"bundle {folder}: cannot read {error.filename}: {error.strerror}") from error
        return Bundle(folder, manifest, session, reader)


def read_manifest(folder: Path) -> Manifest:
    """What a bundle says of itself; its files were found to be those that it tells of.

    Raises:
        ManifestError: If it is damaged, or too new.
        OSError: If it cannot be read.
    """
    manifest = parse_manifest(_manifest_text(folder))
    for name, digest in manifest.files.items():
        _check_hash(folder, name, digest)
    return manifest


def write_bundle(
    folder: str | Path,
    model: bytes,
    *,
    name: str,
    inputs: Sequence[Input],
    classes: Sequence[str],
    positive: str | None = None,
    threshold: float | None = None,
    missing_tokens: Sequence[str] = MISSING_TOKENS,
    metrics: Mapping[str, Any] | None = None,
    libraries: Mapping[str, str] | None = None,
    data_sha256: str | None = None,
    git_revision: str | None = None,
    version: str | None = None,
    task: str = "classification",
    coverage: float | None = None,
    measures: Sequence[str] | None = None,
    loss: Loss | None = None,
    labels: Sequence[LabelValues] | None = None,
    sequence: SequenceInputs | None = None,
    step: tuple[StepGraph, bytes] | None = None,
    pairs: PairColumns | None = None,
    extra_files: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a bundle whole or not at all.

    Args:
        folder: That will be the bundle; must not exist unless `overwrite`.
        model: ONNX graph, raw columns in, the task's outputs out, such as `label` and `probabilities`.
        name: Of the model, as servers show it.
        inputs: One for every input tensor of the graph.
        classes: In the order of the probabilities; none where answers are numbers.
        positive: The class whose probability is "the" probability; None with more than two classes.
        threshold: From which probability on the graph answers `positive`.
        missing_tokens: Texts that mean "missing".
        metrics: Any JSON.
        libraries: Library to version, of the training.
        data_sha256: Of the training data.
        git_revision: Of the training code.
        version: The first 12 hex digits of the model's SHA-256 when None.
        task: One of `serve.tasks.TASKS`.
        coverage: Of "regression", the share of true values that is to lie within the bounds.
        measures: Of "segments", what is told of each, then "anomaly" where there is a score of the row.
        loss: Of "regression", by which the number was predicted; None for the squared one.
        labels: Of "labels", the values and threshold of each, whose names are the classes.
        sequence: What the lists of a row are to each other; None where rows hold no lists.
        step: Of sequences a graph that takes one step, and its content.
        pairs: Of "items" the columns of the table that was learnt from.
        extra_files: Name to content of further files.
        overwrite: Replace a bundle that is there.

    Raises:
        ValueError: If the folder exists, or the graph does not fit the inputs.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise ValueError(f"bundle {folder} exists already; remove it, or overwrite it")
    if folder.exists() and not (folder / MANIFEST_FILE).is_file():
        raise ValueError(f"{folder} exists and is no bundle, so it is not overwritten; give another folder")
    extra_files = dict(extra_files) if extra_files is not None else {}
    if step is not None:
        extra_files[step[0].file] = step[1]
    if {MODEL_FILE, MANIFEST_FILE} & set(extra_files):
        raise ValueError(f"{MODEL_FILE} and {MANIFEST_FILE} are the bundle's own; give the extra file another name")
    files = {MODEL_FILE: model, **extra_files}
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    manifest = Manifest(
        name=name,
        version=hashes[MODEL_FILE][:12] if version is None else version,
        inputs=tuple(inputs),
        missing_tokens=tuple(missing_tokens),
        classes=tuple(classes),
        positive=positive,
        threshold=threshold,
        files=hashes,
        check_rows=CheckRows((), (), ()),
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        metrics=metrics if metrics is not None else {},
        libraries=libraries if libraries is not None else {},
        data_sha256=data_sha256,
        git_revision=git_revision,
        task=task,
        coverage=coverage,
        measures=None if measures is None else tuple(measures),
        loss=loss,
        labels=None if labels is None else tuple(labels),
        sequence=sequence,
        step=None if step is None else step[0],
        pairs=pairs,
    )
    try:
        manifest = replace(manifest, check_rows=_answered(manifest, model))
        text = manifest.to_json()
        parse_manifest(text)  # what is written has to load
    except ManifestError as error:
        raise ValueError(f"bundle {folder}: {error}") from error
    _write_folder(folder, {**files, MANIFEST_FILE: text.encode()})
    return manifest


def reader_of(manifest: Manifest) -> FeedReader | SequenceReader:
    """What reads rows for a bundle's model."""
    if manifest.sequence is not None:
        return SequenceReader(manifest)
    return FeedReader(manifest.inputs, manifest.missing_tokens)


def read_model(folder: Path, manifest: Manifest, name: str) -> bytes:
    """A graph of a bundle whose hashes were found right.

    Raises:
        ManifestError: If it is another by now.
    """
    model = (folder / name).read_bytes()
    if hashlib.sha256(model).hexdigest() != manifest.files[name]:
        raise ManifestError(f"{name} changed while it was read; load the bundle again")
    return model


def open_model(model: bytes, manifest: Manifest, threads: int = 1, device: str = "cpu") -> ort.InferenceSession:
    """A session of the bundle's model.

    Raises:
        ManifestError: If the model is none, or another's.
    """
    wanted = {item.tensor: _TENSOR_TYPES[item.dtype] for item in manifest.inputs}
    if manifest.sequence is not None:
        wanted[manifest.sequence.length] = "tensor(int64)"
    return open_session(model, wanted, outputs_of(manifest), threads, device=device)


def open_step(bundle: Bundle) -> ort.InferenceSession:
    """A session of the graph that takes one step.

    Raises:
        ManifestError: If the bundle has none, or it is another's.
    """
    manifest = bundle.manifest
    if manifest.step is None or manifest.sequence is None:
        raise ManifestError("it has no step graph; its whole sequences are answered by Scorer")
    wanted = {item.tensor: _TENSOR_TYPES[item.dtype] for item in manifest.inputs}
    wanted["state"] = "tensor(float)"
    if manifest.sequence.time is not None:
        wanted["last_time"] = "tensor(double)"
    if manifest.sequence.now is not None:
        wanted[manifest.sequence.length] = "tensor(int64)"
    name = manifest.step.file
    model = read_model(bundle.folder, manifest, name)
    return open_session(model, wanted, outputs_of(manifest) | {"new_state": "tensor(float)"}, name=name)


def outputs_of(manifest: Manifest) -> dict[str, str]:
    """Names and types of the outputs of the bundle's model."""
    first = {"number": "tensor(float)", "labels": "tensor(bool)"}.get(manifest.kind.answer, "tensor(string)")
    outputs = dict(zip(manifest.outputs, (first, "tensor(float)"), strict=True))
    return outputs | {BECAUSE: "tensor(string)"} if manifest.task == "items" else outputs


def open_session(
    model: bytes,
    wanted: Mapping[str, str],
    wanted_outputs: Mapping[str, str],
    threads: int = 1,
    name: str = MODEL_FILE,
    device: str = "cpu",
) -> ort.InferenceSession:
    """An onnxruntime session whose inputs and outputs are as the manifest says.

    Args:
        model: ONNX graph.
        wanted: Name to type of the inputs.
        wanted_outputs: Name to type of the outputs.
        threads: That one call may use.
        name: Of the file.
        device: "cpu" or "cuda".

    Raises:
        ManifestError: If the model is none, or another's.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads would burn CPU time
    options.log_severity_level = 4  # errors come as exceptions
    wanted_providers = providers(device)
    try:
        session = ort.InferenceSession(model, options, providers=wanted_providers)
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise ManifestError(f"onnxruntime cannot load {name} ({first_line(error)}); export the model again") from error
    if device == "cuda" and CUDA not in session.get_providers():  # onnxruntime itself goes on without a word
        raise ManifestError("onnxruntime cannot start CUDA for it; look at nvidia-smi, or take --device cpu")
    found = {item.name: item.type for item in session.get_inputs()}
    if wanted != found:
        differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))[0]
        raise ManifestError(
            f"input {differing} is {found.get(differing, 'absent')} in {name} and "
            f"{wanted.get(differing, 'absent')} in {MANIFEST_FILE}; export the model again"
        )
    outputs = {item.name: item.type for item in session.get_outputs()}
    if outputs != wanted_outputs:
        raise ManifestError(f"{name} has not the outputs {' and '.join(wanted_outputs)}; export the model again")
    return session


def run_rows(
    session: ort.InferenceSession, reader: FeedReader | SequenceReader, manifest: Manifest
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Answers to the check rows.

    Raises:
        ManifestError: If the rows do not fit the inputs, or the model fails on them.
    """
    try:
        label, probabilities = run_feeds(session.run, manifest, reader.from_rows(manifest.check_rows.rows))
    except ManifestError:
        raise
    except ValueError as error:
        raise ManifestError(f"its check rows do not fit its inputs ({error}); export the model again") from error
    except Exception as error:  # as above
        raise ManifestError(
            f"the model fails on the check rows ({first_line(error)}); export the model again"
        ) from error
    return label, probabilities


def _answered(manifest: Manifest, model: bytes) -> CheckRows:
    rows = tuple(check_rows(manifest.inputs, manifest.sequence))
    asked = replace(manifest, check_rows=CheckRows(rows, (), ()))
    label, probabilities = run_rows(open_model(model, manifest), reader_of(manifest), asked)
    if manifest.has_lists:
        return _answered_lists(manifest, rows, label, probabilities)
    if manifest.labels is not None:
        if not np.isfinite(probabilities).all():
            raise ManifestError("the model answers probabilities that are no numbers")
        return CheckRows(rows, tuple(labels_had(manifest, label)), tuple(map(tuple, probabilities.tolist())))
    if manifest.has_numbers:
        ordered = (probabilities[:, 0] <= label) & (label <= probabilities[:, 1])
        if not (ordered & np.isfinite(probabilities).all(axis=1)).all():
            raise ManifestError("the model answers values that are no numbers, or lie outside their bounds")
    elif not np.isfinite(probabilities).all() or not set(label.tolist()) <= set(manifest.classes):
        raise ManifestError("the model answers labels that are no classes, or probabilities that are no numbers")
    return CheckRows(rows, tuple(label.tolist()), tuple(map(tuple, probabilities.tolist())))


def _answered_lists(
    manifest: Manifest, rows: tuple[Mapping[str, Any], ...], labels: Any, probabilities: Any
) -> CheckRows:
    if not all(np.isfinite(p).all() for p in probabilities) or not set(chain.from_iterable(labels)) <= set(
        manifest.classes
    ):
        raise ManifestError("the model answers labels that are no classes, or probabilities that are no numbers")
    return CheckRows(rows, tuple(map(tuple, labels)), tuple(tuple(p.tolist()) for p in probabilities))


def _manifest_text(folder: Path) -> bytes:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        inside = folder / "bundle" / MANIFEST_FILE
        hint = f"is it {inside.parent}?" if inside.is_file() else "give the folder that training wrote as RUN/bundle"
        what = f"{MANIFEST_FILE} is missing in it" if folder.is_dir() else "there is no such folder"
        raise ManifestError(f"{what}; {hint}")
    _check_inside(folder, MANIFEST_FILE)
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise ManifestError(f"{MANIFEST_FILE} is larger than {_LARGEST_MANIFEST >> 20} MB; export the model again")
    return path.read_bytes()


def _check_inside(folder: Path, name: str) -> None:
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
    except RuntimeError:  # links in a circle
        inside = False
    if not inside:
        raise ManifestError(f"its file {name} is a link to outside the folder; copy the bundle whole")


def _check_hash(folder: Path, name: str, digest: str) -> None:
    path = folder / name
    _check_inside(folder, name)
    if not path.is_file():
        raise ManifestError(f"its file {name} is missing; copy the bundle whole, or export the model again")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ManifestError(
                f"its file {name} is damaged (other SHA-256 than recorded); copy the bundle again, or export it again"
            )


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    partial = folder.parent / f".{folder.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a process of the same number that was killed
    try:
        partial.mkdir(parents=True)
        for name, content in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            with (partial / name).open("wb") as file:
                file.write(content)
                sync_file(file)
        for inner in {(partial / name).parent for name in files}:
            sync_folder(inner)
        put_folder(partial, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
