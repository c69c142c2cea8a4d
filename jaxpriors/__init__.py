"""Likelihood ratios between nearly identical collider samples, in JAX.

The names below are what most users need; everything else is imported from its own module. They
are loaded when first used, so that the command line answers before JAX is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.data.formats.frames import events_from_awkward, events_from_pandas
    from jaxpriors.data.matched import Simulation, read_simulation
    from jaxpriors.data.sample_files import read_events, write_events
    from jaxpriors.errors import InputError
    from jaxpriors.ratio.classifier import RatioClassifier
    from jaxpriors.ratio.model import RatioModel
    from jaxpriors.unfolding.omnifold import OmniFold, unfold
    from jaxpriors.unfolding.result import Unfolded

__all__ = [
    "Events",
    "InputError",
    "OmniFold",
    "RatioClassifier",
    "RatioModel",
    "Simulation",
    "Unfolded",
    "events_from_awkward",
    "events_from_pandas",
    "read_events",
    "read_simulation",
    "unfold",
    "write_events",
]

_HOMES = {
    "Events": "jaxpriors.data.events",
    "InputError": "jaxpriors.errors",
    "OmniFold": "jaxpriors.unfolding.omnifold",
    "RatioClassifier": "jaxpriors.ratio.classifier",
    "RatioModel": "jaxpriors.ratio.model",
    "Simulation": "jaxpriors.data.matched",
    "Unfolded": "jaxpriors.unfolding.result",
    "events_from_awkward": "jaxpriors.data.formats.frames",
    "events_from_pandas": "jaxpriors.data.formats.frames",
    "read_events": "jaxpriors.data.sample_files",
    "read_simulation": "jaxpriors.data.matched",
    "unfold": "jaxpriors.unfolding.omnifold",
    "write_events": "jaxpriors.data.sample_files",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'jaxpriors' has no attribute {name!r}")
