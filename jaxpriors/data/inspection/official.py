"""Samples that come split: train, val and test in one folder, whatever their layout."""

from __future__ import annotations

from pathlib import Path

from jaxpriors.data.events import Events
from jaxpriors.data.formats.omnilearn import omnilearn_levels, read_omnilearn_events
from jaxpriors.data.formats.omnilearned import omnilearned_jets, read_omnilearned_events
from jaxpriors.data.formats.opening import read_sample
from jaxpriors.data.formats.splits import SPLITS, splits_in
from jaxpriors.data.inspection.layouts import OURS, PREPARED, recognise
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError

PARTS = ("train", "validation", "test")  # our names of `SPLITS`


def read_official(
    folder: Path, level: str | None = None, constituents: int | None = None
) -> dict[str, Events]:
    """Read the three parts of a split, validated: {"train": …, "validation": …, "test": …}.

    Args:
        folder: holds train, val and test, as files (`train.h5`, `train_h1.h5`), folders of files or
            prepared samples, in our layout, OmniLearn's or OmniLearned's. Of the latter, jets
            without constituents are left out.
        level: particle or detector, where files hold both.
        constituents: number of each jet that are kept, the hardest; default: all.

    Raises:
        InputError: a part is missing, another layout, parts of which some alone have labels;
            anything that the readers refuse.
    """
    found = splits_in(folder)
    if missing := [part for part in SPLITS if part not in found]:
        raise InputError(
            f"{folder}: found no {', '.join(missing)}, expected {', '.join(SPLITS)}: a file (such "
            "as train.h5) or a folder of each"
        )
    parts = {}
    for name, split in zip(PARTS, SPLITS, strict=True):
        events = _read(found[split], level)
        parts[name] = events if constituents is None else events.hardest(constituents)
    labelled = {name for name, events in parts.items() if events.label is not None}
    if labelled and len(labelled) < len(parts):
        raise InputError(f"{folder}: only {', '.join(sorted(labelled))} have labels, expected all")
    return parts


def _read(path: Path, level: str | None) -> Events:
    """Read one part; InputError for a layout that comes in no such parts."""
    layout = recognise(path)
    if layout in (OURS, PREPARED):
        return read_sample(path, Reading(level))
    if layout == "omnilearned":
        omnilearned_jets(path)  # which tells what is not read
        return read_omnilearned_events(path, at_least=1)
    if layout in ("omnilearn", "omnilearn-omnifold"):
        return read_omnilearn_events(path, level if omnilearn_levels(path) else None)
    raise InputError(
        f"{path}: has the layout {layout}, expected ours, OmniLearn's jets or OmniLearned's"
    )
