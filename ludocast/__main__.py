"""The command line: one table of commands, each imported when it is called."""

from __future__ import annotations

import csv
import importlib
import inspect
import json
import os
import re
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from typing import Any

from ludocast.models.ranks import follow, is_follower
from ludocast.models.threads import let_waiting_threads_sleep


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        target: Module and function.
        summary: What it does.
        training: Whether it needs the training part.
        positional: Whether what it must have is given without an option's name.
        given: Options that it stands for.
    """

    target: str
    summary: str
    training: bool = False
    positional: bool = False
    given: tuple[str, ...] = ()


COMMANDS = {
    "train churn": Command(
        "ludocast.recipes.churn:train_churn", "train a churn model on a player table or an event log", True
    ),
    "train table": Command(
        "ludocast.recipes.table:train_table", "train the classic learners on any table: classes, labels, numbers", True
    ),
    "train value": Command(
        "ludocast.recipes.value:train_value",
        "train a model of amounts, most of them 0: what each player will spend",
        True,
    ),
    "train sequence": Command(
        "ludocast.recipes.sequence:train_sequence", "train a recurrent network on events, a text or tagged words", True
    ),
    "train recommend": Command(
        "ludocast.recipes.recommend:train_recommend", "train a recommender on a table of who had what", True
    ),
    "segment": Command(
        "ludocast.recipes.segment:segment", "find segments in a table, and tell in words what sets each apart", True
    ),
    "profile": Command(
        "ludocast.recipes.profile:profile", "a page of what an event log holds, and of what is wrong with it", True
    ),
    "snapshots": Command(
        "ludocast.recipes.snapshots:snapshots", "turn an event log into snapshots: features, label, split", True
    ),
    "sequences": Command(
        "ludocast.recipes.sequences:sequences", "turn an event log into what each player did before each snapshot", True
    ),
    "interactions": Command(
        "ludocast.recipes.interactions:interactions", "turn an event log into a table of who had what", True
    ),
    "score": Command("ludocast.serve.score:score", "score every row of a table"),
    "evaluate": Command(
        "ludocast.recipes.evaluate:evaluate", "how good a bundle is on another table, and what has moved", True
    ),
    "run": Command("ludocast.recipes.experiment:run", "do again what an experiment.yaml says", True, True),
    "runs list": Command("ludocast.recipes.runs:runs_list", "the runs in a folder, with their measures", True, True),
    "runs compare": Command(
        "ludocast.recipes.runs:runs_compare", "is the second run better than the first?", True, True
    ),
    "runs open": Command("ludocast.recipes.runs:runs_open", "show a run's report in the browser", True, True),
    "serve": Command("ludocast.serve.server:serve", "answer predictions over HTTP"),
    "torchserve": Command(
        "ludocast.serve.server:serve", "serve, with TorchServe's workers behind it", given=("--torchserve",)
    ),
    "keys add": Command("ludocast.serve.safety.commands:keys_add", "make a key for a client of a server", False, True),
    "keys list": Command("ludocast.serve.safety.commands:keys_list", "show who has a key"),
    "keys remove": Command("ludocast.serve.safety.commands:keys_remove", "take a client's key away", False, True),
    "simulate": Command("ludocast.datamodules.simulate:simulate", "make a player table of a simulated game", True),
    "simulate log": Command(
        "ludocast.datamodules.game.log:simulate_log", "make an event log of a simulated game", True
    ),
    "export torchserve": Command(
        "ludocast.serve.torchserve.archive:export_torchserve", "a bundle as an archive for a TorchServe of your own"
    ),
    "export core": Command("ludocast.serve.core:export_core", "the graph without its preprocessing", True),
    "compression-report": Command(
        "ludocast.serve.compression_report:compression_report",
        "a page of what 1-bit gradients sent, and where the time went",
        training=True,
        positional=True,
    ),
    **{
        name: Command("ludocast.recipes.lightning:main", f"LightningCLI: {name} with a YAML file", True)
        for name in ("fit", "validate", "test", "predict")
    },
}
MISSING_PART = "this command needs the training part: pip install 'ludocast[train]'"
KINDS = {"<class 'int'>": "a whole number", "<class 'float'>": "a number", "<class 'bool'>": "true or false"}
TRAINING_MODULES = ("torch", "ibis", "duckdb", "pytorch_lightning", "pandas", "sklearn", "onnx", "scipy", "jinja2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 if a check that was asked for fails, 2 for bad input, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    let_waiting_threads_sleep()
    try:
        recipe = words[:1] == ["train"]
        code = follow(lambda: _main(words)) if recipe and is_follower() else _main(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:  # also while a command is imported, which takes seconds
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        from ludocast import __version__

        print(f"ludocast {__version__}")
        return 0
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return _run(name, [*COMMANDS[name].given, *words[length:]])
    group = {name: command for name, command in COMMANDS.items() if name.startswith(words[0] + " ")}
    if group and words[1:2] in ([], ["-h"], ["--help"]):
        print("\n".join([f"usage: ludocast {words[0]} WHAT [options]", "", *_summaries(group)]))
        return 0 if words[1:] else 2
    known = [*COMMANDS, *(name.partition(" ")[0] for name in COMMANDS)]
    near = get_close_matches(" ".join(words[:2]), known, n=1) or get_close_matches(words[0], known, n=1)
    what = f"did you mean `ludocast {near[0]}`?" if near else "`ludocast --help` lists them"
    return _refuse(f'no command "{" ".join(words[:2])}"; {what}')


def _help() -> str:
    lines = [
        "usage: ludocast COMMAND [options]",
        "",
        "From a game's logs to served predictions. Begin with:",
        "",
        "  ludocast simulate --players 20000 --out demo",
        "  ludocast train churn --data demo/players.csv --label churned --positive yes --exclude player_id --out run",
        "  ludocast score --bundle run/bundle --input demo/players.csv --output scored.csv",
        "  ludocast serve --bundle run/bundle",
        "",
        "commands (each explains itself with --help):",
    ]
    return "\n".join([*lines, *_summaries(COMMANDS)])


def _summaries(commands: Mapping[str, Command]) -> list[str]:
    return [f"  {name:<18} {command.summary}" for name, command in commands.items()]


def _run(name: str, options: list[str]) -> int:
    try:
        function = flat(_load(COMMANDS[name]))
    except ModuleNotFoundError as error:
        if COMMANDS[name].training and error.name is not None and error.name.split(".")[0] in TRAINING_MODULES:
            return _refuse(MISSING_PART)
        raise
    try:
        if function.__module__ == "ludocast.recipes.lightning":
            function([name, *options])
            code = None
        else:
            from jsonargparse import auto_cli

            code = auto_cli(
                function, description=_description(function), args=parser_words(function, options),
                formatter_class=_formatter(getattr(function, "groups", {})), prog=f"ludocast {name}",
                as_positional=COMMANDS[name].positional, parser_mode="json", parser_class=_parser(),
                allow_abbrev=False, config_help="A JSON file of options, by their names.",
            )  # fmt: skip
    except ValueError as error:
        return _refuse(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        return _refuse(_sentence(error))
    return code if isinstance(code, int) else 0


def _description(function: Callable[..., Any]) -> str:
    return _documentation(function).partition("\nArgs:")[0]


def _documentation(of: Callable[..., Any]) -> str:
    return inspect.cleandoc(of.__doc__ if of.__doc__ is not None else "")


def _formatter(groups: Mapping[str, str]) -> type:
    """Shows a command's description as it is written, and its options under headings, without Python's names of types.

    Args:
        groups: Heading by option, as `flat` notes them.
    """
    from argparse import Action, RawDescriptionHelpFormatter

    from jsonargparse import DefaultHelpFormatter

    class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
        def add_arguments(self, actions: Iterable[Action]) -> None:
            sections: dict[str, list[Action]] = {"": []}
            for action in actions:
                if action.dest != "print_config":  # of the parser's own, and no help to anybody
                    sections.setdefault(groups.get(action.dest, ""), []).append(action)
            super().add_arguments(sections.pop(""))
            for heading, of_section in sections.items():
                self.end_section()
                self.start_section(heading)
                super().add_arguments(of_section)

        def add_usage(self, usage: str | None, actions: Iterable[Action], *args: Any, **kwargs: Any) -> None:
            words = [self._format_action_invocation(one) for one in actions if one.required]
            super().add_usage(
                " ".join(["%(prog)s", *words, "[options]"]) if usage is None else usage, [], *args, **kwargs
            )

        def _format_action_invocation(self, action: Action) -> str:
            if not action.option_strings:
                return action.dest
            name = ", ".join(_dashed(flag) for flag in action.option_strings if not flag.endswith("+"))
            is_switch = getattr(action, "_typehint", action.type) is bool and not action.default
            if is_switch or action.nargs == 0:
                return name
            listed = _is_list(getattr(action, "_typehint", None))
            return f"{name} {f'{action.dest.upper()},…' if listed else self._format_args(action, action.dest.upper())}"

        def _get_help_string(self, action: Action) -> str:
            text = action.help if action.help is not None else ""
            if action.required:
                return f"{text} (required)" if action.option_strings else text
            hidden = action.default is None or action.default is False or action.nargs == 0
            return text if hidden or action.dest in ("help", "config") else f"{text} (default: %(default)s)"

    return Formatter


def _parser() -> type[Any]:
    """A parser that says in one sentence what is wrong with the words of a command."""
    from jsonargparse import ArgumentParser

    class Parser(ArgumentParser):  # type: ignore[misc, unused-ignore]
        def error(self, message: str, ex: Exception | None = None) -> typing.NoReturn:  # noqa: ARG002
            flags = [_dashed(flag) for action in self._actions for flag in action.option_strings if flag[-1] != "+"]
            _refuse(f"{said_plainly(message, flags)}; `{self.prog} --help` explains the options")
            self.exit(2)

    return Parser


def _dashed(flag: str) -> str:
    return flag.replace("_", "-")


def said_plainly(message: str, flags: Sequence[str]) -> str:
    """What the parser objects to, in the words of the command line.

    Args:
        message: As the parser has it.
        flags: The options that there are, with dashes.
    """
    unknown = re.match(r"unrecognized arguments: (\S+)", message)
    if unknown is not None:
        word = unknown[1].partition("=")[0]
        if not word.startswith("-"):
            return f'"{word}" belongs to no option'
        near = get_close_matches(_dashed(word), flags, n=1)
        return f"there is no option {word}" + (f"; did you mean {near[0]}?" if near else "")
    absent = re.match(r"the following arguments are required: (.*)", message, re.DOTALL)
    if absent is not None:
        names = [name.strip() for name in absent[1].split(",")]
        named = [_dashed(f"--{name}") if _dashed(f"--{name}") in flags else name.upper() for name in names]
        return f"missing: {', '.join(named)}"
    wrong = re.match(r'Parser key "([^"]+)":.*?Expected a ([^\n]*?)(\. Got|\n).*?value: (.*)', message, re.DOTALL)
    if wrong is not None:
        choices = re.findall(r"'([^']*)'", wrong[2]) if "Literal[" in wrong[2] else []
        wanted = f"one of {', '.join(choices)}" if choices else KINDS.get(wrong[2], wrong[2])
        return f'{_dashed(f"--{wrong[1]}")} is {wanted}, got "{wrong[4].strip()}"'
    return " ".join(message.split())


def _load(command: Command) -> Callable[..., Any]:
    module, _, function = command.target.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return loaded


def flat(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the fields of its dataclasses as arguments of their own.

    Options that several commands share, or that belong together, stand in one dataclass; to the user they are options
    like any others, which --help shows under the dataclass's first line (`groups` of the function, heading by option).

    Args:
        function: The command; a parameter whose type is a dataclass has no default.
    """
    own = inspect.signature(function, eval_str=True).parameters
    groups: dict[str, type[Any]] = {
        name: one.annotation
        for name, one in own.items()
        if isinstance(one.annotation, type) and is_dataclass(one.annotation)
    }
    if not groups:
        return function
    fields = {name: inspect.signature(group, eval_str=True).parameters for name, group in groups.items()}
    every = [one for name, entry in own.items() for one in (fields[name].values() if name in fields else [entry])]

    def call(**given: Any) -> Any:
        made = {name: groups[name](**{key: given.pop(key) for key in fields[name]}) for name in groups}
        return function(**made, **given)

    text, _, arguments = _documentation(function).partition("\nArgs:\n")
    lines = [line for line in arguments.splitlines() if line.strip().partition(":")[0] not in groups]
    for group in groups.values():
        lines += _documentation(group).partition("\nAttributes:\n")[2].splitlines()
    call.__doc__ = "\n".join([text, "Args:", *lines])
    headings = {name: _documentation(group).partition("\n")[0].rstrip(".") for name, group in groups.items()}
    call.groups = {key: headings[name] for name in groups for key in fields[name]}  # type: ignore[attr-defined]
    call.__name__, call.__module__ = function.__name__, function.__module__
    call.__annotations__ = {one.name: one.annotation for one in every}
    order = sorted(every, key=lambda one: one.default is not inspect.Parameter.empty)
    call.__signature__ = inspect.Signature(order)  # type: ignore[attr-defined]
    return call


def parser_words(function: Callable[..., Any], options: Sequence[str]) -> list[str]:
    """Options as the parser takes them.

    The values of an option that takes a list, given again or comma-separated, become one JSON list; a value with a
    comma of its own is quoted as in CSV: --exclude 'a,"b, c"'. A switch such as --overwrite needs no value, though
    `--overwrite false` is understood, and --split-time is --split_time.

    Args:
        function: The command, whose type hints tell the options.
        options: The words of the command line.
    """
    kinds = {f"--{name}": kind for name, kind in typing.get_type_hints(function).items()}
    merged: dict[str, list[str]] = {}
    rest: list[str] = []
    words = iter(_with_answers(kinds, options))
    for word in words:
        flag, equals, value = word.partition("=")
        flag = "--" + flag[2:].replace("-", "_") if flag.startswith("--") else flag
        if not _is_list(kinds.get(flag)):
            switched = kinds.get(flag) is bool and not equals
            rest.append(f"{flag}=true" if switched else word if flag not in kinds else flag + equals + value)
            continue
        if not equals:
            try:
                value = next(words)
            except StopIteration:
                rest.append(word)  # the parser says that a value is missing
                continue
        merged.setdefault(flag, []).extend(next(csv.reader([value]), []))
    return rest + [f"{flag}={json.dumps(values, ensure_ascii=False)}" for flag, values in merged.items()]


def _with_answers(kinds: Mapping[str, Any], options: Sequence[str]) -> list[str]:
    """The words, that of a switch and a "true" or "false" behind it made one."""
    found: list[str] = []
    for word in options:
        before = found[-1] if found else ""
        if word in ("true", "false") and kinds.get(before.replace("-", "_").replace("__", "--", 1)) is bool:
            found[-1] = f"{before}={word}"
        else:
            found.append(word)
    return found


def _is_list(kind: Any) -> bool:
    return kind == list[str] or list[str] in typing.get_args(kind)


def _sentence(error: OSError) -> str:
    what = error.strerror if error.strerror is not None else str(error)
    return f"{error.filename}: {what}" if error.filename is not None else what


def _refuse(sentence: str) -> int:
    print(f"error: {inspect.cleandoc(sentence)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
