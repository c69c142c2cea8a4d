"""Features of one's own: columns of the events, where these have no constituents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import OBSERVABLES, Observable, with_observables
from jaxpriors.evaluation.ranges import fitted, spanned
from jaxpriors.ratio.classifier import RatioClassifier

SHOWN = 12  # features that figures and tables have


def without_constituents(events: Events) -> bool:
    """Tell whether columns alone are known of all events (`Events.from_columns`).

    >>> without_constituents(Events.from_columns({"x": np.arange(3.0)}))
    True
    """
    return len(events.p4) == len(events) and bool((events.p4 == (1, 1, 0, 0)).all())


def with_columns_seen(
    samples: Mapping[str, Events], classifiers: Sequence[RatioClassifier]
) -> dict[str, Events]:
    """Give both samples the columns that the networks see, computing observables that one lacks.

    Raises InputError where there are no constituents for a network, or an observable, to see.
    """
    seen = dict.fromkeys(name for one in classifiers for name in one.inputs.columns)
    missing = [n for n in seen if not all(n in events.columns for events in samples.values())]
    for name, events in samples.items():
        if not without_constituents(events):
            continue
        for one in classifiers:
            if not one.inputs.columns:
                raise InputError(
                    f"{name}: found columns alone, without constituents, which {one.model} needs; "
                    "expected the model mlp"
                )
        if missing:
            raise InputError(
                f"{name}: found the columns {', '.join(sorted(events.columns))} and no "
                f"constituents, expected {', '.join(missing)}, which the network sees, in both "
                "samples"
            )
    if set(missing) & set(OBSERVABLES):
        return {name: with_observables(events) for name, events in samples.items()}
    return dict(samples)


def features(
    samples: Mapping[str, Events], classifiers: Sequence[RatioClassifier]
) -> tuple[dict[str, dict[str, np.ndarray]], tuple[Observable, ...]]:
    """Take the first features that networks see, to test with: of each sample, and their ranges."""
    seen = list(dict.fromkeys(name for one in classifiers for name in one.inputs.columns))[:SHOWN]
    values = {
        sample: {name: np.asarray(events.columns[name], np.float64) for name in seen}
        for sample, events in samples.items()
    }
    shown = []
    for name in seen:
        both = [of[name] for of in values.values()]
        own = Observable(name, name, name, "", 0.0, 1.0, 20)
        known = OBSERVABLES.get(name)
        shown.append(spanned(own, *both) if known is None else fitted(known, *both))
    return values, tuple(shown)
