"""Likelihood ratios between nearly identical collider samples, in JAX.

The names below are what most users need; everything else is imported from its own module. They
are loaded when first used, so that the command line answers before JAX is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxpriors.data.events import Events, read_events, write_events
    from jaxpriors.errors import InputError
    from jaxpriors.methods.classifier import RatioClassifier
    from jaxpriors.methods.ratio import RatioModel

__all__ = ["Events", "InputError", "RatioClassifier", "RatioModel", "read_events", "write_events"]

_HOMES = {
    "Events": "jaxpriors.data.events",
    "InputError": "jaxpriors.errors",
    "RatioClassifier": "jaxpriors.methods.classifier",
    "RatioModel": "jaxpriors.methods.ratio",
    "read_events": "jaxpriors.data.events",
    "write_events": "jaxpriors.data.events",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'jaxpriors' has no attribute {name!r}")
