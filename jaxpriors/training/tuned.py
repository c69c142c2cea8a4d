"""The micro-batches that `jaxpriors tune` found: kept in the cache folder, used by trainings.

``tuned.json`` holds one entry for each machine (kind and number of devices, version of JAX),
network, precision and sort of events. Events are of one sort where their mean padded lengths differ
by less than ``SAME``: what a micro-batch needs grows with its padded rows, and the samples of two
seeds never have quite the same lengths. A size that was the whole batch holds for batches of that
size alone, any other for all. A damaged file stops trainings with a message; `jaxpriors tune`
replaces it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxpriors.run.storage import cache_folder

if TYPE_CHECKING:
    import numpy as np

    from jaxpriors.data.batching import Buckets
    from jaxpriors.training.loop import TrainingConfig

SAME = 1.25  # largest ratio of the mean padded lengths of events of one sort

# fields of a network's configuration that follow from the events and the task, not from its size
_OF_THE_TASK = {"num_classes", "num_features", "num_jet_features", "num_keep", "feature_drop"}
_NUMBERS = {"length": (int, float), "batch_size": (int,), "micro_batch": (int,), "whole": (bool,)}


def key(network: Any, training: TrainingConfig, buckets: Buckets) -> dict[str, Any]:
    """Describe the machine, network and precision that a micro-batch belongs to, as plain data."""
    import dataclasses

    import jax

    from jaxpriors.data.batching import UNITS
    from jaxpriors.training.parallel import devices_for

    rows = [training.batch_size * share // UNITS for share in buckets.shares]
    sizes = {
        name: value
        for name, value in dataclasses.asdict(network).items()
        if name not in _OF_THE_TASK and not (name.startswith(("in_", "out_")))
    }
    found = {
        "device": device_kind(),
        "devices": len(devices_for(rows)) // jax.process_count(),  # of one machine
        "jax": jax.__version__,
        "network": {"kind": type(network).__name__, **sizes},
        "precision": dataclasses.asdict(training.precision),
    }
    return json.loads(json.dumps(found))


def device_kind() -> str:
    """Return the device's name; of a CPU, which JAX has no name for, the processor's."""
    import platform

    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def mean_length(buckets: Buckets) -> float:
    """Return the padded constituents of an event, on average."""
    pairs = zip(buckets.lengths, buckets.shares, strict=True)
    return sum(n * share for n, share in pairs) / sum(buckets.shares)


def read_tuned() -> list[dict[str, Any]]:
    """Read the entries, none where there is no file; InputError where it is damaged."""
    from jaxpriors.errors import InputError
    from jaxpriors.run.storage import exists, read_json

    path = cache_folder() / "tuned.json"
    if not exists(path):
        return []
    try:
        entries = read_json(path)["tuned"]
        good = isinstance(entries, list) and all(
            isinstance(entry["key"], dict)
            and all(type(entry[name]) in types for name, types in _NUMBERS.items())
            and entry["micro_batch"] > 0
            and entry["length"] > 0
            for entry in entries
        )
    except (InputError, KeyError, TypeError):
        good = False
    if not good:
        raise InputError(
            f"{path}: damaged, expected what `jaxpriors tune` writes; delete it, or run "
            "`jaxpriors tune`, which replaces it"
        )
    return entries


def keep(entry: dict[str, Any]) -> Path:
    """Write an entry in place of those for the same; a damaged file is replaced. Gives the path."""
    from jaxpriors.errors import InputError
    from jaxpriors.run.storage import write_json

    try:
        others = [other for other in read_tuned() if not _replaces(entry, other)]
    except InputError:
        others = []
    path = cache_folder() / "tuned.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"tuned": [*others, entry]})
    return path


def _replaces(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """Tell whether both are for the same trainings."""
    of_batch = (new["whole"] or old["whole"]) and new["batch_size"] != old["batch_size"]
    alike = _ratio(new["length"], old["length"]) <= SAME
    return new["key"] == old["key"] and alike and not of_batch


def find(network: Any, training: TrainingConfig, buckets: Buckets) -> int | None:
    """Find the micro-batch that was measured for such a training on this machine; None if none was.

    Raises InputError where the file is damaged.
    """
    entries = read_tuned()
    if not entries:
        return None
    wanted, length = key(network, training, buckets), mean_length(buckets)
    fitting = []
    for entry in entries:
        ratio = _ratio(entry["length"], length)
        other_batch = entry["batch_size"] != training.batch_size
        if entry["key"] == wanted and ratio <= SAME and not (entry["whole"] and other_batch):
            fitting.append((other_batch, ratio, entry["micro_batch"]))
    return min(fitting)[-1] if fitting else None


def tuned(
    training: TrainingConfig,
    network: Any,
    multiplicity: np.ndarray | None,
    begun: dict[str, Any] | None,
    say: Callable[[str], None],
) -> TrainingConfig:
    """Fill in the micro-batch of a training.

    It is the first that there is of: its own; that of the run that it goes on with, whatever was
    found since (``begun``: the training in that run's config.json); what `jaxpriors tune` found;
    the default.

    multiplicity (n,): of the events to train on; None where there is nothing to train.
    """
    import dataclasses

    from jaxpriors.data.batching import plan_buckets
    from jaxpriors.training.parallel import default_micro_batch

    if training.micro_batch is not None:
        return training
    if begun is not None:
        return dataclasses.replace(training, micro_batch=begun.get("micro_batch"))
    if multiplicity is None:
        return training
    found = find(network, training, plan_buckets(multiplicity, training.buckets))
    if found is not None:
        say(f"micro-batches of {found} events, as `jaxpriors tune` found")
    return dataclasses.replace(training, micro_batch=found or default_micro_batch())


def _ratio(a: float, b: float) -> float:
    return math.exp(abs(math.log(a / b)))
