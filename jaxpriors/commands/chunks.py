"""The chunk sizes that `jaxpriors tune` found: kept in the cache folder, used by trainings.

``tuned.json`` holds one entry for each machine (kind and number of devices, version of JAX),
network, precision and sort of events. Events are of one sort where their mean padded lengths differ
by less than ``SAME``: what a chunk needs grows with its padded rows, and the samples of two seeds
never have quite the same lengths. A size that was the whole batch holds for batches of that size
alone, any other for all. A damaged file stops trainings with a message; `jaxpriors tune` replaces
it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxpriors.commands.setup import cache_folder

if TYPE_CHECKING:
    import numpy as np

    from jaxpriors.data.batching import Buckets
    from jaxpriors.data.events import Events
    from jaxpriors.methods.classifier import RatioClassifier
    from jaxpriors.models.presets import NetworkConfig
    from jaxpriors.training.loop import TrainingConfig

SAME = 1.25  # largest ratio of the mean padded lengths of events of one sort

# fields of a network's configuration that follow from the events and the task, not from its size
_OF_THE_TASK = {"num_classes", "num_features", "num_jet_features", "num_keep", "feature_drop"}
_NUMBERS = {"length": (int, float), "batch_size": (int,), "micro_batch": (int,), "whole": (bool,)}


def tuned_file() -> Path:
    """Where the sizes are kept."""
    return cache_folder() / "tuned.json"


def key(network: NetworkConfig, training: TrainingConfig, buckets: Buckets) -> dict[str, Any]:
    """The machine, network and precision that a chunk size belongs to, as plain data."""
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
    """The device's name; of a CPU, which JAX has no name for, the processor's."""
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
    """Padded constituents of an event, on average."""
    pairs = zip(buckets.lengths, buckets.shares, strict=True)
    return sum(n * share for n, share in pairs) / sum(buckets.shares)


def read_tuned() -> list[dict[str, Any]]:
    """The entries, none where there is no file; InputError where it is damaged."""
    from jaxpriors.errors import InputError
    from jaxpriors.training.runs import exists, read_json

    path = tuned_file()
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
    from jaxpriors.training.runs import write_json

    try:
        others = [other for other in read_tuned() if not _replaces(entry, other)]
    except InputError:
        others = []
    path = tuned_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"tuned": [*others, entry]})
    return path


def _replaces(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """Whether both are for the same trainings."""
    of_batch = (new["whole"] or old["whole"]) and new["batch_size"] != old["batch_size"]
    alike = _ratio(new["length"], old["length"]) <= SAME
    return new["key"] == old["key"] and alike and not of_batch


def find(network: NetworkConfig, training: TrainingConfig, buckets: Buckets) -> int | None:
    """The chunk size that was found for such a training on this machine, None if none was.

    Raises InputError where the file is damaged.
    """
    wanted, length = key(network, training, buckets), mean_length(buckets)
    fitting = []
    for entry in read_tuned():
        ratio = _ratio(entry["length"], length)
        other_batch = entry["batch_size"] != training.batch_size
        if entry["key"] == wanted and ratio <= SAME and not (entry["whole"] and other_batch):
            fitting.append((other_batch, ratio, entry["micro_batch"]))
    return min(fitting)[-1] if fitting else None


def resolved(
    training: TrainingConfig,
    network: NetworkConfig,
    multiplicity: np.ndarray | None,
    begun: dict[str, Any] | None,
    tell: Callable[[str], None],
) -> TrainingConfig:
    """The training with its chunk size filled in.

    The first that there is of: its own; that of the run that it goes on with, whatever was found
    since (``begun``: the training in that run's config.json); what `jaxpriors tune` found; the
    default.

    multiplicity (n,): of the events to train on; None where there is nothing to train.
    """
    import dataclasses

    from jaxpriors.data.batching import plan_buckets
    from jaxpriors.training.parallel import chunk_rows

    if training.micro_batch is not None:
        return training
    if begun is not None:
        return dataclasses.replace(training, micro_batch=begun.get("micro_batch"))
    if multiplicity is None:
        return training
    found = find(network, training, plan_buckets(multiplicity, training.buckets))
    if found is not None:
        tell(f"chunks of {found} events, as `jaxpriors tune` found")
    return dataclasses.replace(training, micro_batch=found or chunk_rows())


def with_chunks(
    classifier: RatioClassifier,
    multiplicity: np.ndarray | None,
    begun: dict[str, Any] | None,
    progress: Callable[[dict[str, Any]], None],
) -> RatioClassifier:
    """The classifier with the chunk size of its training filled in, as ``resolved`` does it."""
    import dataclasses

    config = classifier.resolved()
    assert config.training is not None and config.network is not None

    def tell(text: str) -> None:
        progress({"stage": f"{classifier.model}: {text}"})

    training = resolved(config.training, config.network, multiplicity, begun, tell)
    return dataclasses.replace(classifier, training=training)


def multiplicity(*samples: Events) -> np.ndarray:
    """Numbers of constituents of all events."""
    import numpy as np

    return np.concatenate([events.multiplicity for events in samples])


def begun(run: Path, *place: str | int) -> dict[str, Any] | None:
    """What stands at a place of the config.json of a run that was begun; None if there is none."""
    from jaxpriors.training.runs import exists, read_json

    path = run / "config.json"
    if not exists(path):
        return None
    found = read_json(path)
    for step in place:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return {}  # another configuration, which `open_run` refuses
    return found if isinstance(found, dict) else {}


def _ratio(a: float, b: float) -> float:
    return math.exp(abs(math.log(a / b)))
