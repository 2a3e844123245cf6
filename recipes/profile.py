"""`ludocast profile`: a page of what an event log holds, and of what is wrong with it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ludocast.datamodules.etl.engine import connect, parse_memory, telling_of_engines
from ludocast.datamodules.etl.profile import Profile, open_whole, profile_log
from ludocast.datamodules.etl.rules import milliseconds, zone_offsets
from ludocast.datamodules.etl.sources import find_source
from ludocast.datamodules.etl.write import PartialFolder
from ludocast.datamodules.whole_files import put_file
from ludocast.serve.profile_report import lead, render_profile


def profile(
    log: list[str],
    out: Path = Path("profile.html"),
    player: str | None = None,
    time: str | None = None,
    event: str | None = None,
    amount: str | None = None,
    level: str | None = None,
    session: str | None = None,
    session_gap: str = "30m",
    time_zone: str = "UTC",
    time_unit: Literal["s", "ms", "us", "ns"] | None = None,
    engine: str = "duckdb",
    table: str | None = None,
    memory: str = "4GB",
    spill: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Show what an event log holds, what is wrong with it, and which windows fit it.

    Writes a page to open in a browser: players and events a day, who stays, sessions, event types, spending, after how
    many quiet days players are gone for good with the windows that follow for `ludocast snapshots`; and warnings: rows
    twice, clocks that jump, gaps in collection, bots, shared ids, columns that carry the future. All numbers stand
    beside it as JSON. What is printed ends with the command to run next.

    Example: ludocast profile --log events.parquet --out profile.html

    Args:
        log: Files, folders and globs (Parquet, CSV, JSON lines), a DuckDB file, or a table of the engine.
        out: The page, .html; the numbers go beside it, .json.
        player: Column of the player; found by its name.
        time: Column of the time; found by its name.
        event: Column of the event's type, none to leave it aside; found by its name.
        amount: Column of money, the same.
        level: Column of the player's level, the same.
        session: Column that names the session; the same. Without it pauses tell sessions apart.
        session_gap: Pause after which a session has ended.
        time_zone: Of hours and weekdays, such as Europe/Berlin; days are UTC.
        time_unit: Of times that are numbers; found by itself.
        engine: duckdb, spark, spark://HOST:PORT or postgres://USER:PASSWORD@HOST/DATABASE.
        table: Table of a DuckDB file.
        memory: What DuckDB may use.
        spill: Folder for what does not fit into memory.
        overwrite: Replace what lies at OUT.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out names a page such as profile.html, got {out}")
    numbers = out.with_suffix(".json")
    for path in (out, numbers):
        if path.is_dir():
            raise ValueError(f"{path} is a folder; choose another --out")
    if numbers.exists() and not overwrite:
        raise ValueError(f"{numbers} exists; choose another --out, or --overwrite to replace it")
    columns = {
        "player": player, "time": time, "event": event, "amount": amount, "level": level, "session": session,
    }  # fmt: skip
    session_ms = milliseconds("--session-gap", session_gap)
    zone_offsets(time_zone, 0, 0)  # whether there is such a zone, before the log is read
    with PartialFolder(out, overwrite) as folder:
        with telling_of_engines():
            connected = connect(engine, parse_memory(memory), folder, spill)
            try:
                opened = open_whole(connected, find_source(connected, log, table), columns, time_unit)
                for note in opened.notes:
                    print(f"note: {note}", flush=True)
                found = profile_log(connected, opened, session_ms, time_zone)
            finally:
                connected.close()
        _write(json.dumps(found.document, ensure_ascii=False, indent=1, allow_nan=False) + "\n", folder, numbers)
        _write(render_profile(found.document, _name(log)), folder, out)  # last: where the page is, the numbers are
    given = {**columns, "time-unit": time_unit, "table": table}
    given |= {"engine": None if engine == "duckdb" else engine}
    given |= {"session-gap": None if session_gap == "30m" else session_gap}
    given |= {"time-zone": None if time_zone == "UTC" else time_zone}
    _tell(found, log, {name: value for name, value in given.items() if value is not None}, out)


def _name(log: list[str]) -> str:
    return Path(log[0]).name if len(log) == 1 else f"{Path(log[0]).name} and {len(log) - 1} more"


def _write(text: str, folder: Path, path: Path) -> None:
    partial = folder / path.name
    partial.write_text(text, encoding="utf-8")
    put_file(partial, path)


def _tell(found: Profile, log: list[str], given: Mapping[str, str], out: Path) -> None:
    """What was found, and the command that goes on from there, with the options that were given here."""
    document: Mapping[str, Any] = found.document
    print("\n".join(lead(document)))
    for one in found.findings:
        print(f"warning: {one.kind}: {one.told}; {one.advice}")
    if not found.findings:
        print("nothing wrong was found")
    for reason in document["suggestion"]["reasons"]:
        print(f"  {reason}")
    if document["suggestion"]["options"] is not None:
        options = [word for name, value in given.items() for word in (f"--{name}", value)]
        names = shlex.join(["--log", ",".join(log), *options])
        print(f"next: ludocast snapshots {names} {document['suggestion']['options']} --out snaps")
    print(f"{out}: open it in a browser; all numbers in {out.with_suffix('.json')}")
