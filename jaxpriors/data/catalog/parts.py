"""Files as parts: events that are counted before they are read, and read in ranges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from jaxpriors.data.prepared import EventsOrLevels, Piece

Reader = Callable[[int, int], EventsOrLevels]  # the events of a range (start, stop), validated

PIECE = 50_000  # events that are in memory at once


@dataclass(frozen=True)
class Part:
    """What one file (or one table of it) holds.

    Args:
        name: for messages.
        events: how many there are.
        open: gives the reader; a function that pickle knows by name, as it may be opened by
            another process.
        piece: events that are best read at once.
    """

    name: str
    events: int
    open: Callable[[], Reader]
    piece: int = PIECE


def pieces(parts: Sequence[Part], events: int | None = None) -> list[Piece]:
    """Functions that read all events of all parts, or the first ones, in order."""
    found: list[Piece] = []
    left = sum(part.events for part in parts) if events is None else events
    for part in parts:
        last = min(part.events, left)
        for start in range(0, last, part.piece):
            found.append(partial(_read, part.open, start, min(start + part.piece, last)))
        left -= last
    return found


def _read(opened: Callable[[], Reader], start: int, stop: int) -> EventsOrLevels:
    return opened()(start, stop)
