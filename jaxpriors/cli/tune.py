"""`jaxpriors tune`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jaxpriors.cli.options import In, InputOptions, NetworkOptions, SampleOptions
from jaxpriors.ratio.names import NetworkName

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.models.lgatr import LGATrConfig
    from jaxpriors.ratio.classifier import RatioClassifier
    from jaxpriors.training.tuning import Task

Progress = Callable[[dict[str, Any]], None]


def tune(
    simulation: Path,
    data: Path,
    /,
    model: tuple[NetworkName, ...] = ("lgatr-slim",),
    network: In[NetworkOptions] = NetworkOptions(),
    seen: In[InputOptions] = InputOptions(),
    samples: In[SampleOptions] = SampleOptions(),
    batch_size: int | None = None,
    seed: int = 0,
) -> int:
    """Find the fastest micro-batch of a training on this machine.

    Measures the training step of `jaxpriors reweight` with the same arguments, with 1, 2, 4, …
    events at a time, and keeps the fastest number in the cache folder, from where trainings read
    it. Also finds the largest batch that fits the memory.

    Args:
        simulation: HDF5 file of the sample to reweight.
        data: HDF5 file of the target sample.
        model: one or several networks.
        network: size, start and precision of the networks.
        seen: what the networks see.
        samples: how to read the files.
        batch_size: events in a step; default: that of the size.
        seed: seed of the split into parts.
    """
    from jaxpriors.ratio.classifier import RatioClassifier
    from jaxpriors.run.folder import shown
    from jaxpriors.run.launch import set_up
    from jaxpriors.training.options import TrainingOptions
    from jaxpriors.training.tuned import keep

    pretrained = network.pretrained_for(model)
    inputs = seen.inputs_for(model, pretrained)
    options = TrainingOptions(batch_size=batch_size, seed=seed)
    chosen = [
        RatioClassifier(name, network.size, inputs[name], pretrained=pretrained[name]).with_options(
            options, network.precision
        )
        for name in model
    ]
    read = samples.read(simulation, data)
    set_up()
    for number, one in enumerate(chosen):
        with shown() as display:
            entry = measure(one, *read, seed, display)
        path = keep(entry)
        print("\n" * (number > 0) + table(one.model, entry))
        print(f"kept in {path}")
    return 0


def measure(
    classifier: RatioClassifier,
    simulation: Events,
    data: Events,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Measure one network with the events that a reweighting would train on.

    Raises InputError for events that cannot be trained on and where no chunk fits the memory.
    """
    import dataclasses

    import jax

    from jaxpriors.data.batching import split
    from jaxpriors.errors import InputError
    from jaxpriors.ratio.examples import Examples, two_classes
    from jaxpriors.ratio.reweighting import Reweighting
    from jaxpriors.run.processes import device_memory
    from jaxpriors.training import tuning
    from jaxpriors.training.tuned import key, mean_length

    config = classifier
    progress({"stage": f"measuring the training step of {config.model}"})
    first, second = (e[split(len(e), Reweighting.fractions, seed)[0]] for e in (simulation, data))
    batches, _, loss = config.objective(Examples(two_classes(first, second)))
    params, _ = config.initial(jax.random.key(config.training.seed))
    task = tuning.Task.of(params, loss, batches, config.training)
    memory = device_memory()
    measured = tuning.measure_micro_batches(task, memory, progress)
    best = tuning.fastest(measured)
    if best is None:
        raise InputError(
            f"{config.model}: not even one event at a time fits the {_gigabytes(memory)} of a "
            "device; expected a smaller network or shorter events"
        )
    largest = None if memory is None else _largest(config, task, memory, progress)
    batch_size = config.training.batch_size
    return {
        "key": key(config.network, config.training, batches.buckets),
        "lengths": list(batches.buckets.lengths),
        "length": mean_length(batches.buckets),
        "batch_size": batch_size,
        "micro_batch": best.rows,
        "whole": best.rows * task.mesh.size >= batch_size,
        "measured": [dataclasses.asdict(size) for size in measured],
        "memory": memory,
        "largest_batch": largest,
    }


def _largest(
    config: RatioClassifier, task: Task, memory: int, progress: Progress
) -> dict[str, int | None]:
    """Find the largest batch that fits at once, with blocks kept and recomputed."""
    import dataclasses

    import jax

    from jaxpriors.ratio.networks import init_classifier
    from jaxpriors.training.tuning import largest_batch

    inputs, network_config = config.inputs, cast("LGATrConfig", config.network)
    found: dict[str, int | None] = {}
    first = config.training.batch_size
    for name, recomputed in (("kept", False), ("recomputed", True)):
        progress({"stage": f"largest batch, blocks {name}"})
        network = dataclasses.replace(network_config, checkpoint_blocks=recomputed)
        shapes = jax.eval_shape(
            lambda key, network=network: init_classifier(key, network, inputs),
            jax.random.key(0),
        )
        one = dataclasses.replace(task, params=shapes)
        found[name] = largest_batch(one, memory, first, progress)
        first = found[name] or first
    return found


def table(model: str, entry: dict[str, Any]) -> str:
    """Format the measurements of a model."""
    machine, batch_size = entry["key"], entry["batch_size"]
    lengths = ", ".join(map(str, entry["lengths"]))
    lines = [
        f"{model}, {batch_size} events a step, padded to {lengths}; "
        f"{machine['devices']} × {machine['device']}",
        f"{'chunk':>7}{'ms per step':>14}{'events/s':>12}{'temporary memory':>20}",
    ]
    for chunk in entry["measured"]:
        seconds = chunk["seconds"]
        speed = f"{'does not fit':>26}"
        if seconds is not None:
            speed = f"{1000 * seconds:>14.1f}{batch_size / seconds:>12.0f}"
        mark = " *" if chunk["rows"] == entry["micro_batch"] else ""
        lines.append(f"{chunk['rows']:>7}{speed}{_gigabytes(chunk['temporary']):>20}{mark}")
    lines.append(
        f"trainings of this network will work on {entry['micro_batch']} events at a time on each "
        "device"
    )
    largest = entry["largest_batch"]
    if largest is None:
        lines.append("largest batch: the memory of this machine is not known")
    else:
        kept, recomputed = (largest[name] or "none" for name in ("kept", "recomputed"))
        lines.append(
            f"largest batch at once in the {_gigabytes(entry['memory'])} of a device: {kept}; with "
            f"blocks recomputed (checkpoint_blocks): {recomputed}; in chunks, any"
        )
    return "\n".join(lines)


def _gigabytes(number: int | None) -> str:
    return "unknown" if number is None else f"{number / 1e9:.3f} GB"
