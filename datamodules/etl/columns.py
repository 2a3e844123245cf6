"""Which column of a log is what: found by its name where that is obvious, and told."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

# Names under which a role is found, the surest first; in lower case, without blanks, dots, hyphens, underscores.
_NAMES = {
    "player": (
        "playerid", "player", "userid", "user", "accountid", "account", "customerid", "uid", "characterid", "avatarid",
        "avatar", "gamerid", "deviceid", "device", "visitorid", "pid",
    ),
    "time": (
        "timestamp", "eventtime", "eventtimestamp", "time", "datetime", "ts", "eventdate", "createdat", "occurredat",
        "servertime", "date", "epoch",
    ),
    "event": ("event", "eventname", "eventtype", "action", "activity", "eventid"),
    "amount": ("amount", "price", "revenue", "spend", "spent", "purchaseamount", "priceusd", "amountusd", "revenueusd"),
    "level": ("level", "playerlevel", "characterlevel"),
    "session": ("sessionid", "session"),
    "item": ("itemid", "item", "productid", "product", "sku", "itemname", "productname", "offerid", "gameid"),
}  # fmt: skip
NEEDED = ("player", "time", "item")
ASKED_FOR = ("item",)  # looked for where it is wanted; to all else it is a column like any other
NOT_USED = "none"  # what a flag says to leave a column of an obvious name aside


@dataclass(frozen=True)
class Columns:
    """Names of a log's columns; None where there is none."""

    player: str
    time: str
    event: str | None = None
    amount: str | None = None
    level: str | None = None
    session: str | None = None
    item: str | None = None

    def named(self) -> dict[str, str]:
        """Role to column, of those there are."""
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {role: column for role, column in pairs if column is not None}


def find_columns(available: Sequence[str], given: Mapping[str, str | None]) -> tuple[Columns, list[str]]:
    """The columns of a log.

    Args:
        available: Names of all its columns.
        given: Role to the column that the user named; None to look for one. An item is looked for if it is there.

    Returns:
        The columns, and those that were found by their name, as sentences.

    Raises:
        ValueError: If a named column is absent, or player, time or an item that is wanted are not found.
    """
    found: dict[str, str | None] = {}
    told = []
    for role, names in _NAMES.items():
        if role in ASKED_FOR and role not in given:
            continue
        wanted = given.get(role)
        if wanted is not None:
            is_left = wanted == NOT_USED and wanted not in available and role not in NEEDED
            found[role] = None if is_left else _named(available, role, wanted)
            continue
        by_name = {_plain(name): name for name in reversed(available) if name not in given.values()}
        hits = [by_name[name] for name in names if name in by_name]
        if not hits and role in NEEDED:
            raise ValueError(
                f"no column of the log is obviously the {role}; name it with --{role}; there are {_all(available)}"
            )
        found[role] = hits[0] if hits else None
        if hits:
            told.append(f'{role} is column "{hits[0]}"')
    taken = [name for name in found.values() if name is not None]
    for name in taken:
        if taken.count(name) > 1:
            roles = [role for role, column in found.items() if column == name]
            raise ValueError(f'column "{name}" is to be {" and ".join(roles)}; name another for one of them')
    return Columns(**found), told  # type: ignore[arg-type]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in " ._-")


def _named(available: Sequence[str], role: str, wanted: str) -> str:
    if wanted in available:
        return wanted
    near = difflib.get_close_matches(wanted, available, n=1, cutoff=0.4)
    hint = f'did you mean "{near[0]}"?' if near else f"its columns are {_all(available)}"
    raise ValueError(f'the log has no column "{wanted}" (--{role}); {hint}')


def _all(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:12])
    return shown if len(names) <= 12 else f"{shown}, … ({len(names)} in all)"
