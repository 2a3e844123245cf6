"""How a source makes steps of raw events, names or words: all that serving has to repeat."""

# D numbers

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.player_columns import PlayerColumns
from ludocast.datamodules.vocabulary import Vocabulary


@dataclass(frozen=True)
class StepInputs:
    """What of raw events a step reads, in this order: token, log gap, log age, calendar, numbers; or bits of days.

    Attributes:
        vocabulary: Of the names; None where a step has none.
        name: Column of the names.
        time: Column of the times, by which events are sorted; None where the order is that of the list.
        numbers: Columns of numbers.
        scale: Mean and standard deviation of each, float32 [D]; a missing number is the mean one.
        has_gaps: Whether the time since the event before is read.
        has_ages: Whether the age at the moment of the question is read.
        has_last_age: Whether the head reads the age of the last event at that moment, on which no step depends.
        has_calendar: Whether hour and weekday are read.
        has_now: Whether there is a moment of the question; events before it are known.
        observe: Days before that moment in which events are known; None for all.
        days_per_step: A step is so many days back from that moment, with 1 for each day that has an event; None for a
            step an event.
        active_within: Days before that moment in which whoever is asked about had an event.
        pause: Hours without an event after which a new sequence begins.
        line_end: Word at the end of a line of text.
        players: Columns of players beside their events; None for none.
        times: First and last time that training knew, seconds since 1970.
        longest: Most events that training read of a sequence, of more the last ones; None for any number.
    """

    vocabulary: Vocabulary | None = None
    name: str | None = None
    time: str | None = None
    numbers: tuple[str, ...] = ()
    scale: tuple[np.ndarray, np.ndarray] | None = None
    has_gaps: bool = False
    has_ages: bool = False
    has_last_age: bool = False
    has_calendar: bool = False
    has_now: bool = False
    observe: float | None = None
    days_per_step: int | None = None
    active_within: float | None = None
    pause: float | None = None
    line_end: str | None = None
    players: PlayerColumns | None = None
    times: tuple[float, float] | None = None
    longest: int | None = None
