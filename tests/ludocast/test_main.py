from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonargparse import auto_cli

from ludocast.__main__ import COMMANDS, Command, flat, main, parser_words
from tests.warm.start import warm_python

ROOT = Path(__file__).parent.parent.parent


def example(data: Path, exclude: list[str] | None = None, keep: list[str] | None = None, count: int = 1) -> None:
    """Takes lists."""


@pytest.mark.parametrize(
    "words",
    [
        ["--exclude", "a,b", "--data", "x"],
        ["--exclude", "a", "--data", "x", "--exclude", "b"],
        ["--exclude=a", "--exclude=b", "--data", "x"],
    ],
)
def test_lists_may_be_repeated_or_comma_separated(words: list[str]) -> None:
    assert parser_words(example, words) == ["--data", "x", '--exclude=["a", "b"]']


def test_a_quoted_comma_belongs_to_the_name() -> None:
    assert parser_words(example, ["--exclude", 'a,"b, c"']) == ['--exclude=["a", "b, c"]']


def test_names_that_look_like_other_types_stay_text() -> None:
    assert parser_words(example, ["--keep", "1,true,null, x "]) == ['--keep=["1", "true", "null", " x "]']


def flags(split_time: str | None = None, overwrite: bool = False) -> None:
    """Takes a switch and a name of two words."""


def test_switches_need_no_value_and_dashes_are_understood() -> None:
    assert parser_words(flags, ["--split-time", "day", "--overwrite"]) == ["--split_time", "day", "--overwrite=true"]
    assert parser_words(flags, ["--overwrite=false", "--typo-here"]) == ["--overwrite=false", "--typo-here"]
    assert parser_words(flags, ["--overwrite", "false"]) == ["--overwrite=false"]
    assert parser_words(flags, ["--split-time", "true"]) == ["--split_time", "true"]


@dataclass(frozen=True)
class Where:
    """Where things are.

    Attributes:
        path: The place.
        tags: Some words.
        deep: Whether to look inside.
    """

    path: Path
    tags: list[str] | None = None
    deep: bool = False


def look(where: Where, count: int = 1, loud: bool = False) -> tuple[Where, int, bool]:
    """Look for it.

    Args:
        where: Told by its fields.
        count: How often.
        loud: With a noise.
    """
    return where, count, loud


def test_fields_of_a_dataclass_are_options_of_their_own() -> None:
    function = flat(look)
    assert list(inspect.signature(function).parameters) == ["path", "tags", "deep", "count", "loud"]
    assert function.__doc__ is not None
    told = [line.strip() for line in function.__doc__.splitlines()]
    assert {"path: The place.", "deep: Whether to look inside.", "count: How often."} < set(told)
    assert not any(line.startswith("where:") for line in told)
    words = parser_words(function, ["--path=x", "--tags", "b,c", "--deep", "--count=2"])
    assert auto_cli(function, args=words, as_positional=False) == (Where(Path("x"), ["b", "c"], True), 2, False)
    assert auto_cli(function, args=["--path=x"], as_positional=False) == (Where(Path("x")), 1, False)
    assert function.groups == dict.fromkeys(("path", "tags", "deep"), "Where things are")  # type: ignore[attr-defined]
    assert flat(main) is main


def test_a_missing_value_is_left_to_the_parser() -> None:
    assert parser_words(example, ["--data", "x", "--exclude"]) == ["--data", "x", "--exclude"]


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tarin"]) == 2
    assert 'no command "tarin"; did you mean `ludocast train`?' in capsys.readouterr().err
    assert main(["train", "recommned", "--data", "x"]) == 2
    assert "did you mean `ludocast train recommend`?" in capsys.readouterr().err
    assert main(["xyz"]) == 2
    assert "`ludocast --help` lists them" in capsys.readouterr().err


def test_the_first_word_of_several_commands_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS if name.startswith("train "))
    assert "serve" not in shown
    assert main(["train"]) == 2


def test_every_command_explains_itself() -> None:
    for name in ("score", "serve", "simulate", "train churn", "export core"):
        done = subprocess.run(
            [warm_python(), "-m", "ludocast", *name.split(), "--help"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "usage: ludocast" in done.stdout


def test_help_shows_options_under_their_headings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    options = capsys.readouterr().out.partition("\noptions:\n")[2]
    sections = {part.partition(":")[0]: part for part in options.split("\n\n")[1:]}
    assert "--bundle" in options.split("\n\n")[0]
    assert "--tls-key" in sections["Where the server listens, and how it ends"]
    assert "--keep-jobs" in sections["Jobs, which score whole tables in the background"]


def test_help_of_training_teaches() -> None:
    done = subprocess.run(
        [warm_python(), "-m", "ludocast", "train", "churn", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    text = " ".join(done.stdout.split())
    assert "one row a player" in text
    assert "Example: ludocast train churn --data players.csv" in text
    for option in (
        "--split-time SPLIT_TIME ",
        "--cost-missed COST_MISSED ",
        "--resume ",
        "--private ",
        "--schema SCHEMA ",
    ):
        assert option in text
    assert (
        "Name of the model in the bundle; by default that of OUT. --version" in text
    )  # no type, and no default of None
    assert "What it costs to act on one who would have stayed. (default: 1.0)" in text
    assert "class '" not in text
    assert "Literal" not in text


@pytest.mark.parametrize("module", ["torch", "pandas"])
def test_a_training_command_without_its_part_says_so(module: str) -> None:
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "{module}":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from ludocast.__main__ import main
sys.exit(main(["train", "churn", "--data", "x.csv", "--label", "y"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: this command needs the training part: pip install 'ludocast[train]'\n"


def test_commands_of_the_table_exist() -> None:
    for command in COMMANDS.values():
        module = command.target.partition(":")[0].replace("ludocast.", "").replace(".", "/")
        assert (ROOT / f"{module}.py").is_file(), command.target


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "ludocast", "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data", "x", "--learner", "tree"], "there is no option --learner; did you mean --learners?"),
        (["--data", "x", "churned"], '"churned" belongs to no option'),
        (["--label", "y"], "missing: --data"),
        (["--data", "x", "--seed", "many"], '--seed is a whole number, got "many"'),
        (["--data", "x", "--trials", "many"], '--trials is a whole number, got "many"'),
        (["--data", "x", "--cost-missed", "much"], '--cost-missed is a number, got "much"'),
        (["--data", "x", "--task", "regresion"],
         '--task is one of auto, classification, regression, got "regresion"'),
        (["--data", "x", "--logger", "paper"], '--logger is one of mlflow, tensorboard, csv, got "paper"'),
    ],
)  # fmt: skip
def test_wrong_words_are_told_in_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "table", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {sentence}; `ludocast train table --help` explains the options\n"


def test_ctrl_c_while_a_command_is_imported_leaves_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stopped_while_imported.py").write_text("raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(COMMANDS, "stopped", Command("stopped_while_imported:run", "is stopped"))
    assert main(["stopped"]) == 130
