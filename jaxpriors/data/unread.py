"""What a file holds beside what was read of it: told, or refused where it looks as if it counts."""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path

from jaxpriors.errors import InputError

# what the last part of a name looks like → what it may be, as one would call it
WEIGHTS, FLAGS, LABELS = "event weights", "flags of events that pass", "labels"
SUSPECTS = {
    r".*(weight|(?<![a-z])wgt|(?<![a-z])wt(?![a-z])).*": WEIGHTS,
    r"(.*_)?pass.*": FLAGS,
    r"(is_?signal|(.*_)?labels?)(_.*)?": LABELS,
}
OURS = {WEIGHTS: "weight", LABELS: "label"}  # what we call them
SHOWN = 12  # names that a message lists


class Unread(UserWarning):
    """Say which parts of a file were not read: `path` and `names`."""

    def __init__(self, path: Path | str, names: Iterable[str]) -> None:
        self.path, self.names = path, tuple(names)
        super().__init__(f"{path}: not read: {listed(self.names)}")


def account(
    path: Path | str,
    present: Iterable[str],
    read: Iterable[str],
    ignore: Iterable[str] = (),
    places: str = "",
    settled: Collection[str] = (),
) -> tuple[str, ...]:
    """Return the names in a file that were not read, in order, without those to ignore.

    Args:
        path: of the file, for messages.
        present: names of all that there is; groups are separated by slashes or dots.
        read: those that were read.
        ignore: those that are knowingly not read, or patterns of them (`*Weight*`).
        places: where weights, flags and labels are read from, for messages, as in "event weights
            are read from 'weight'".
        settled: kinds of which the user has chosen one (`suspected`): others are no error.

    Raises:
        InputError: a name that looks like that of weights, flags or labels was not read; a name to
            ignore is not there.

    >>> account("a.h5", ["p4", "weight", "raw/trigger"], ["p4", "weight"])
    ('raw/trigger',)
    """
    present = list(present)
    left = set(present) - set(read)
    for pattern in ignore:
        ignored = set(fnmatch.filter(present, pattern))
        if not ignored:
            raise InputError(f"{path}: ignore: found no {pattern}; there are {listed(present)}")
        left -= ignored
    for name in sorted(left):
        if (what := suspected(name)) and what not in settled:
            raise InputError(
                f"{path}: found {name!r}, which would not be read although it looks like {what}"
                f"{f' ({places})' if places else ''}; expected it among the columns "
                f"(--columns {OURS.get(what, last(name))} {name}) or among those to ignore "
                f"(--ignore {name})"
            )
    return tuple(sorted(left))


def suspected(name: str) -> str | None:
    """Say what a name looks like, of those that change results where they are not read.

    >>> suspected("raw/mc_weight"), suspected("pass_reco"), suspected("height")
    ('event weights', 'flags of events that pass', None)
    """
    lower = last(name).lower()
    return next((what for form, what in SUSPECTS.items() if re.fullmatch(form, lower)), None)


def last(name: str) -> str:
    """Give the last part of a name in groups."""
    return re.split(r"[/.]", name)[-1]


def tell(path: Path | str, unread: Iterable[str]) -> None:
    """Warn (`Unread`) of what was not read, if there is any."""
    unread = list(unread)
    if unread:
        warnings.warn(Unread(path, unread), stacklevel=3)


def listed(names: Iterable[str]) -> str:
    """Join names for a message; of many, the first ones and their number."""
    names = list(names)
    rest = f", … ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + rest
