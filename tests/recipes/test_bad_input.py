"""What `ludocast train churn` cannot use or cannot write: exit code 2, one sentence, and nothing left behind."""

from __future__ import annotations

import ctypes
import resource
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from ludocast.datamodules.simulate import simulate

from ludocast.__main__ import main

OPTIONS = ["--label", "churned", "--positive", "yes", "--exclude", "player_id", "--members", "1", "--epochs", "1"]


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("players")
    simulate(300, folder, seed=1)
    return pd.read_csv(folder / "players.csv", dtype=str, keep_default_na=False)


@pytest.fixture
def here(tmp_path: Path, players: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a good table `x.csv`."""
    players.to_csv(tmp_path / "x.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence with which a training is refused."""
    capsys.readouterr()
    assert main(["train", "churn", "--data", "x.csv", *OPTIONS, *words]) == 2
    error = capsys.readouterr().err
    sentences = [line for line in error.splitlines() if line and "it/s" not in line]  # progress bars aside
    assert len(sentences) == 1, error
    assert sentences[0].startswith("error: ")
    return sentences[0].removeprefix("error: ")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


Change = Callable[[pd.DataFrame], str | bytes]


@pytest.mark.parametrize(
    ("change", "words", "sentence"),
    [
        (lambda f: f.to_csv(index=False).splitlines()[0], [], "x.csv has a header but no rows; a table needs rows below it"),
        (lambda f: f.to_csv(index=False) + 'p9,"\n' + ",," * 9 + "\n", [],
         "x.csv is broken CSV: Row #302: Expected 19 columns, got 2: p9,\"; mend line 302 (line 1 is the header)"),
        (lambda f: f[["age", "churned", "country"]].to_csv(index=False) + '30,no,"KR\n31,no,US\n', [],
         'x.csv is broken CSV: the quote before "KR" is left open to the end of the file; close it'),
        (lambda f: f.to_csv(index=False).encode("utf-16"), [], "x.csv looks like text in UTF-16; read it with --encoding utf-16"),
        (lambda f: f.assign(country="한국").to_csv(index=False).encode("cp949"), [],
         'x.csv is not text in encoding "utf-8"; name its own with --encoding'),
        (lambda f: f.to_csv(index=False), ["--delimiter", "::"],
         "--delimiter is one character such as \";\", or tab, got '::'"),
        (lambda f: f.to_csv(index=False), ["--exclude", "contry"], 'the table has no column "contry"; did you mean "country"?'),
        (lambda f: f.assign(churned=f.player_id).to_csv(index=False), ["--exclude", "age"],
         'the label "churned" has 300 distinct values; a class label has at most 100'),
        (lambda f: f.assign(churned=["maybe", *f.churned[1:]]).to_csv(index=False), [],
         'the label value "maybe" stands in 1 rows; each needs 3 or more, drop or merge it'),
        (lambda f: f.to_csv(index=False), ["--split-group", "channel", "--split-time", "registered_at"],
         "give --split-time or --split-group, not both"),
        (lambda f: f.to_csv(index=False), ["--truth", "x.csv"],
         'x.csv, row 1, column "churned": expected a number, got "'),
        (lambda f: f.to_csv(index=False), ["--seed", "-1"], "--seed is a number from 0 to 4294967295, got -1"),
        (lambda f: f.to_csv(index=False), ["--devices", "0", "--accelerator", "cpu"],
         "--accelerator, --devices and --precision: `Trainer(devices=0)`"),
        (lambda f: f.to_csv(index=False), ["--out", "."],
         "--out . names no folder of its own; give one that is to be made, such as run"),
        (lambda f: f.to_csv(index=False), ["--out", "x.csv"],
         "x.csv exists; choose another --out, or --overwrite to replace it"),
        (lambda f: f.to_csv(index=False), ["--out", "x.csv/run"],
         "x.csv is a file, so x.csv/run cannot be made; choose another --out"),
    ],
    ids=["header alone", "broken line", "open quote", "utf-16", "cp949", "delimiter", "excluded column", "label of names",
         "rare class", "two splits", "truth", "seed", "devices", "out here", "out is the table", "out in a file"],
)  # fmt: skip
def test_one_sentence(
    here: Path,
    players: pd.DataFrame,
    capsys: pytest.CaptureFixture[str],
    change: Change,
    words: list[str],
    sentence: str,
) -> None:
    content = change(players)
    (here / "x.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    found = refused(capsys, *(["--out", "run"] if "--out" not in words else []), *words)
    assert found.removeprefix(f"{here}/").startswith(sentence)
    assert left(here) == ["x.csv"]


def test_a_schema_that_leaves_no_column_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ludocast.datamodules.schema import Column, Schema

    Schema((Column("age", "ignored", "by hand"),), "churned", ("no", "yes"), "yes").write(here / "s.json")
    wanted = "s.json leaves no column to learn from; give one of them a kind of number, category, boolean, timestamp"
    assert refused(capsys, "--schema", "s.json") == wanted
    assert left(here) == ["s.json", "x.csv"]


def test_what_lies_at_the_output_is_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("run", "run.partial"):
        (here / name).mkdir()
        (here / name / "mine").write_text("mine")
        sentence = refused(capsys, "--out", "run")
        assert "--overwrite" in sentence
        assert ("--resume" in sentence) is (name == "run.partial")
        assert left(here / name) == ["mine"]
        (here / name / "mine").unlink()
        (here / name).rmdir()
    assert refused(capsys, "--out", "run", "--resume") == "there is no run.partial to resume; leave --resume out"
    assert refused(capsys, "--out", "run", "--resume", "--overwrite") == (
        "--resume keeps what is there and --overwrite discards it; give one of them"
    )
    assert left(here) == ["x.csv"]


# No permission. Permissions do not bind root, unless it lays the right to pass over them aside for a while.


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    libc = ctypes.CDLL(None)
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))  # _LINUX_CAPABILITY_VERSION_3, this thread
    before = ctypes.create_string_buffer(24)
    libc.capget(header, before)
    effective, *others = struct.unpack("6I", before.raw[:24])
    effective &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc.capset(header, ctypes.create_string_buffer(struct.pack("6I", effective, *others)))
    try:
        yield
    finally:
        libc.capset(header, before)


@pytest.fixture
def locked(here: Path) -> Iterator[Path]:
    """A folder in which nothing may be made, `here/locked`."""
    folder = here / "locked"
    folder.mkdir(0o555)
    with bound_by_permissions():
        try:
            (folder / "x").touch()
        except PermissionError:
            yield folder
        else:
            (folder / "x").unlink()
            pytest.skip("permissions do not bind this user")


def test_no_permission_to_write(here: Path, locked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = f"no permission to write in {locked}; choose another --out"
    assert refused(capsys, "--out", "locked/run") == wanted
    assert refused(capsys, "--out", "locked/new/run") == wanted
    assert left(locked) == []
    assert left(here) == ["locked", "x.csv"]


def test_no_permission_to_read(here: Path, locked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "x.csv").chmod(0o000)
    assert refused(capsys, "--out", "run") == "x.csv: Permission denied"
    assert left(here) == ["locked", "x.csv"]


# No space.


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("model", "size"),
    [("network", 0), ("network", 100_000), ("boosting", 20_000)],
    ids=["at the first byte", "in a checkpoint", "in the bundle or the report"],
)
def test_a_file_that_may_not_grow(here: Path, capsys: pytest.CaptureFixture[str], model: str, size: int) -> None:
    with largest_file(size):
        sentence = refused(capsys, "--out", "run", "--model", model)
    assert sentence == (
        "run: a file would be larger than is allowed here (ulimit -f); allow more, or choose another --out; nothing was kept"
    )
    assert left(here) == ["x.csv"]


@pytest.fixture
def disk(here: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a small file system at `here/disk`."""
    folder = here / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("a small file system to fill can be mounted by root alone")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ("nr_inodes=1", "network"),
        ("nr_inodes=2", "network"),
        ("size=64k", "network"),
        ("size=64k", "boosting"),
    ],
    ids=["at the folder", "at the settings", "in a checkpoint", "in the bundle or the report"],
)
def test_a_full_disk(disk: Callable[[str], Path], capsys: pytest.CaptureFixture[str], options: str, model: str) -> None:
    folder = disk(options)
    sentence = refused(capsys, "--out", "disk/new/run", "--model", model)
    assert sentence == "disk/new/run: the disk is full; free some space, or choose another --out; nothing was kept"
    assert left(folder) == []


def test_a_full_disk_costs_no_earlier_run(disk: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = disk("size=64k")
    (folder / "run").mkdir()
    (folder / "run" / "report.html").write_text("of last week")
    assert "the disk is full" in refused(capsys, "--out", "disk/run", "--model", "boosting", "--overwrite")
    assert left(folder) == ["run"]
    assert (folder / "run" / "report.html").read_text() == "of last week"
