"""`ludocast profile` from the command line: the page, its numbers, and input that cannot be used."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from ludocast.datamodules.game.log import simulate_log

from ludocast.__main__ import main


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("game")
    simulate_log(100, 75, folder, seed=3, overwrite=True)
    return folder / "events.parquet"


class _Reader(HTMLParser):
    """Checks that every element is closed in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)
        assert not [name for name, value in attrs if name in ("src", "href") or (value and "http" in value)]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_stands_alone_and_the_numbers_beside_it(events: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "profile.html"
    out.parent.mkdir()
    assert main(["profile", "--log", str(events), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.parent.iterdir()) == ["profile.html", "profile.json"]
    page, document = out.read_text(encoding="utf-8"), json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    reader = _Reader()
    reader.feed(page)
    assert not reader.open
    text = " ".join(reader.text)
    frame = pd.read_parquet(events)
    assert document["log"]["events"] == len(frame)
    assert f"{len(frame):,} events of {frame.player_id.nunique():,} players on 75 days" in text
    assert document["suggestion"]["options"] in text
    assert "<script" not in page
    titles = ("Events a day", "Who comes back after a quiet time?", "Events by weekday and hour", "Paid a day")
    assert all(re.search(f"<h3>{re.escape(title)}", page) for title in titles)
    for type_ in ("match_won", "purchase"):
        assert type_ in text


def test_csv_gives_the_same_numbers(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_parquet(events)
    frame.to_csv(tmp_path / "events.csv", index=False)
    for log, out in ((events, "a.html"), (tmp_path / "events.csv", "b.html")):
        assert main(["profile", "--log", str(log), "--out", str(tmp_path / out), "--level", "none"]) == 0
        # What comes next is run as it stands there.
        told = capsys.readouterr().out
        (line,) = (line for line in told.splitlines() if line.startswith("next: "))
        assert shlex.split(line)[1:7] == ["ludocast", "snapshots", "--log", str(log), "--level", "none"]
    assert main([*shlex.split(line)[2:-1], str(tmp_path / "snaps")]) == 0
    assert set(pd.read_parquet(tmp_path / "snaps").split) >= {"train", "validation", "test"}
    one, other = (json.loads((tmp_path / name).read_text(encoding="utf-8")) for name in ("a.json", "b.json"))
    assert one == other


def test_names_from_the_log_are_escaped(tmp_path: Path) -> None:
    times = pd.date_range("2024-01-01", periods=40, freq="D")
    frame = pd.DataFrame({"player_id": "<b>x</b>", "time": times, "event": "<script>alert(1)</script>"})
    frame.to_parquet(tmp_path / "log.parquet")
    out = tmp_path / "profile.html"
    assert main(["profile", "--log", str(tmp_path / "log.parquet"), "--out", str(out)]) == 0
    assert "<script" not in out.read_text(encoding="utf-8")


def test_what_is_there_stays_unless_told(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "profile.html"
    out.with_suffix(".json").write_text("mine")
    assert main(["profile", "--log", str(events), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.with_suffix(".json").read_text() == "mine"
    assert main(["profile", "--log", str(events), "--out", str(out), "--overwrite"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["profile.html", "profile.json"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--out", "profile.txt"], "--out names a page"),
        (["--player", "plaier_id"], 'did you mean "player_id"?'),
        (["--time-zone", "Mars/Olympus"], 'no time zone "Mars/Olympus"'),
        (["--session-gap", "soon"], "--session-gap is a duration"),
        (["--memory", "much"], "--memory is a size"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    shutil.copy(events, tmp_path / "events.parquet")
    words = ["profile", "--log", str(tmp_path / "events.parquet"), "--out", str(tmp_path / "p.html"), *options]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["events.parquet"]


def test_a_killed_run_leaves_nothing_half_written(events: Path, tmp_path: Path) -> None:
    out, partial = tmp_path / "profile.html", tmp_path / ".profile.html.partial"
    command = [sys.executable, "-m", "ludocast", "profile", "--log", str(events), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not partial.exists() and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.wait()
    assert not out.exists()
    assert not out.with_suffix(".json").exists()
    assert main(["profile", "--log", str(events), "--out", str(out)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["profile.html", "profile.json"]
