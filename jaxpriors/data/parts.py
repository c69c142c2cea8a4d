"""Files as parts: events that are counted before they are read, and read in ranges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from jaxpriors.data.prepared import EventsOrLevels, Piece
from jaxpriors.errors import InputError

Reader = Callable[[int, int], EventsOrLevels]  # the events of a range (start, stop), validated

PIECE = 50_000  # events that are in memory at once


@dataclass(frozen=True)
class Part:
    """Describe what one file (or one table of it) holds.

    Args:
        name: for messages.
        events: how many there are.
        open: gives the reader; a function that pickle knows by name, as it may be opened by
            another process. Of a reader that opens its file for every range, `read(path, start,
            stop)`, this is `partial(partial, read, path)`.
        piece: events that are best read at once.
    """

    name: str
    events: int
    open: Callable[[], Reader]
    piece: int = PIECE


def as_labels(place: str, found: np.ndarray, first: int) -> np.ndarray:
    """Turn labels (n,) of 0 and 1 into int32.

    place: the file and the array, for the message. first: index of the first event. Raises
    InputError for other labels.
    """
    wrong = ~np.isin(found, (0, 1))
    if wrong.any():
        event = int(np.argmax(wrong))
        raise InputError(f"{place} is {found[event]:g} in event {first + event}, expected 0 or 1")
    return found.astype(np.int32)


def pieces(parts: Sequence[Part], events: int | None = None) -> list[Piece]:
    """Make functions that read all events of all parts, or the first ones, in order."""
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
