"""What a file holds beside what was read of it: told, or refused where it looks as if it counts."""

from __future__ import annotations

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
        ignore: those that are knowingly not read.
        places: where weights, flags and labels are read from, for messages, as in "event weights
            are read from 'weight'".
        settled: kinds of which the user has chosen one (`suspected`): others are no error.

    Raises:
        InputError: a name that looks like that of weights, flags or labels was not read; a name to
            ignore is not there.

    >>> account("a.h5", ["p4", "weight", "raw/trigger"], ["p4", "weight"])
    ('raw/trigger',)
    """
    present, ignore = list(present), set(ignore)
    if missing := sorted(ignore - set(present)):
        raise InputError(
            f"{path}: ignore: found no {', '.join(missing)}; there are {listed(present)}"
        )
    left = sorted(set(present) - set(read) - ignore)
    for name in left:
        if (what := suspected(name)) and what not in settled:
            raise InputError(
                f"{path}: found {name!r}, which would not be read although it looks like {what}"
                f"{f' ({places})' if places else ''}; expected it to be named as a column or "
                "among the names to ignore"
            )
    return tuple(left)


def suspected(name: str) -> str | None:
    """Say what a name looks like, of those that change results where they are not read.

    >>> suspected("raw/mc_weight"), suspected("pass_reco"), suspected("height")
    ('event weights', 'flags of events that pass', None)
    """
    last = re.split(r"[/.]", name)[-1].lower()
    return next((what for form, what in SUSPECTS.items() if re.fullmatch(form, last)), None)


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
