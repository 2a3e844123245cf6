"""`experiment.yaml`: what a run was asked, of which data, with what; and `ludocast run`, which does it again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from ludocast.recipes.provenance import digest, git_revision, libraries

EXPERIMENT_FILE = "experiment.yaml"
FORMAT = 1
NOT_RECORDED = ("out", "resume", "overwrite", "logger")  # where a run lies and who is told; not what it is


@dataclass(frozen=True)
class Asked:
    """What a recipe was asked.

    Attributes:
        command: Such as "train churn".
        options: Name to value, defaults among them; paths as text.
        paths: Which of the options are paths.
    """

    command: str
    options: Mapping[str, Any]
    paths: frozenset[str]

    def document(self) -> dict[str, Any]:
        """Command, options, the hashes of the files among these, and what ran."""
        files = {name: Path(self.options[name]) for name in self.options if name in self.paths}
        return {
            "format": FORMAT, "command": self.command, "options": dict(self.options),
            "sha256": {name: digest(path) for name, path in files.items() if path.exists()},
            "libraries": libraries(), "git_revision": git_revision(),
        }  # fmt: skip


def experiment_of(command: str, given: Mapping[str, Any]) -> Asked:
    """What a recipe was asked.

    Args:
        command: Such as "train churn".
        given: Its arguments, as `locals()` has them in its first line; the fields of dataclasses count as its own.
    """
    options: dict[str, Any] = {}
    for name, value in given.items():
        options |= asdict(value) if is_dataclass(value) and not isinstance(value, type) else {name: value}
    if options.get("name", "") is None and "out" in options:
        options["name"] = Path(options["out"]).name  # the model holds it
    kept = {name: value for name, value in options.items() if name not in NOT_RECORDED}
    paths = frozenset(name for name, value in kept.items() if isinstance(value, Path))
    return Asked(command, {name: str(value) if name in paths else value for name, value in kept.items()}, paths)


def plain_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a file gives them back."""
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def write_experiment(path: Path, experiment: Asked | None, settings: Mapping[str, Any]) -> None:
    """Write what was asked.

    Args:
        path: Of the file.
        experiment: None of a run that nobody can ask for again.
        settings: What a resumed run has to agree with.
    """
    document = {} if experiment is None else experiment.document()
    whole = plain_values({**document, "settings": dict(settings)})
    path.write_text(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def read_experiment(path: Path) -> dict[str, Any]:
    """Read an experiment, written by a run or by a person.

    Raises:
        ValueError: If it is none; the sentence says why.
    """
    if path.is_dir():
        path = path / EXPERIMENT_FILE
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ValueError(f'{path} holds no "command" and "options"')
    return document


def run(experiment: Path, out: Path = Path("run"), overwrite: bool = False) -> int:
    """Do again what an experiment.yaml says; of the same data it gives the same numbers and the same model.

    Every run leaves one: RUN/experiment.yaml holds the command, all its options, the hashes of its files and the
    versions of what ran. One that is written by hand needs the command and those options that are no defaults.

    Example: ludocast run runs/a/experiment.yaml --out runs/again

    Args:
        experiment: The file, or the folder of the run.
        out: Folder of the new run.
        overwrite: Replace what lies there.
    """
    from ludocast.__main__ import COMMANDS, main

    document = read_experiment(experiment)
    command, options = document.get("command"), document.get("options", {})
    known = [name for name in COMMANDS if name.startswith("train ") or name in ("segment", "evaluate")]
    if command not in known:
        raise ValueError(f'{experiment}: "command" is one of {", ".join(known)}; got {command!r}')
    if not isinstance(options, dict):
        raise ValueError(f'{experiment}: "options" holds options and their values')
    for note in differences(document):
        print(f"note: {note}", flush=True)
    words = [word for name, value in options.items() for word in _words(str(name), value)]
    return main([*str(command).split(), *words, f"--out={out}", *(["--overwrite"] if overwrite else [])])


def differences(document: Mapping[str, Any]) -> list[str]:
    """What is not as it was: sentences on data and versions."""
    found = []
    options, hashes, versions = (document.get(key) or {} for key in ("options", "sha256", "libraries"))
    for name, before in hashes.items() if isinstance(hashes, dict) else ():
        path = Path(str(options.get(name)))
        if path.exists() and digest(path) != before:
            found.append(f"--{name} {path} is not what it was (another SHA-256), so the numbers will differ")
    here = libraries()
    changed = [
        f"{name} {here.get(name, 'absent')} (then {before})"
        for name, before in (versions.items() if isinstance(versions, dict) else ())
        if here.get(name) != before
    ]
    if changed:
        found.append(f"other versions than recorded: {', '.join(changed)}; numbers may differ in their last digits")
    return found


def _words(name: str, value: Any) -> list[str]:
    """An option as the command line takes it."""
    if value is None:
        return []
    if isinstance(value, list):
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(value)
        return [f"--{name}={text.getvalue()}"] if value else []
    if isinstance(value, bool):
        return [f"--{name}={'true' if value else 'false'}"]
    return [f"--{name}={value}"]
