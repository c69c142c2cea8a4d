"""`jaxpriors tune`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxpriors.commands.reweight import Compute, Network

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.methods.classifier import RatioClassifier
    from jaxpriors.training.tuning import Task

Progress = Callable[[dict[str, Any]], None]


def tune(
    simulation: Path,
    data: Path,
    /,
    model: tuple[Network, ...] = ("lgatr-slim",),
    size: Literal["small", "paper"] = "small",
    level: str | None = None,
    columns: dict[str, str] | None = None,
    coordinates: str | None = None,
    features: Literal["full", "momenta"] = "full",
    beam: Literal["lightlike", "spacelike", "timelike", "xyplane", "none"] = "lightlike",
    time: bool = True,
    pretrained: Path | None = None,
    batch_size: int | None = None,
    precision: Compute = "float32",
    seed: int = 0,
) -> int:
    """Find the fastest chunk size of a training on this machine.

    Measures the step of the training that `jaxpriors reweight` would start with the same arguments,
    with its events worked on in chunks of 1, 2, 4, … at a time, and keeps the fastest size in the
    cache folder, from where trainings take it. Also finds the largest batch that fits the memory.

    Args:
        simulation: HDF5 file of the sample to reweight.
        data: HDF5 file of the sample to look like.
        model: one or several networks.
        size: small or paper.
        level: particle or detector, where a file holds both.
        columns: our names of columns and yours, in both files.
        coordinates: of the momenta: E,px,py,pz or pt,eta,phi,m or pt,eta,phi.
        features: of lgatr and lgatr-slim: full or momenta.
        beam: of lgatr and lgatr-slim: reference vectors that stand for the beam.
        time: of lgatr and lgatr-slim: whether a reference vector stands for the time direction.
        pretrained: of pet-finetuned: as for reweight.
        batch_size: other than the size's own.
        precision: in which the networks compute.
        seed: of the split into parts.
    """
    from jaxpriors.commands.chunks import keep
    from jaxpriors.commands.progress import Display
    from jaxpriors.commands.reweight import classifiers, read_samples
    from jaxpriors.commands.setup import use_all_cores, use_compilation_cache

    chosen = classifiers(
        model,
        size,
        seed,
        features,
        beam,
        time,
        pretrained,
        batch_size=batch_size,
        precision=precision,
    )
    samples = read_samples(simulation, data, level, columns, coordinates)
    use_all_cores()
    use_compilation_cache()
    for number, one in enumerate(chosen):
        with Display() as display:
            entry = measure(one, *samples, seed, display)
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
    """What is found for one network and the events that a reweighting would train on.

    Raises InputError for events that cannot be trained on and where no chunk fits the memory.
    """
    import dataclasses

    import jax

    from jaxpriors.commands.chunks import key, mean_length
    from jaxpriors.commands.setup import device_memory
    from jaxpriors.data.splitting import split
    from jaxpriors.errors import InputError
    from jaxpriors.methods.labels import Labelled, labelled
    from jaxpriors.methods.reweighting import Reweighting
    from jaxpriors.training import tuning

    config = classifier.resolved()
    assert config.training is not None and config.network is not None
    progress({"stage": f"measuring the training step of {config.model}"})
    parts = [e[split(len(e), Reweighting.fractions, seed)[0]] for e in (simulation, data)]
    batches, _, loss = config.objective(Labelled(labelled(parts[0], parts[1])))
    params, _ = config.initial(jax.random.key(config.training.seed))
    task = tuning.Task.of(params, loss, batches, config.training)
    memory = device_memory()
    chunks = tuning.measure_chunks(task, memory, progress)
    best = tuning.fastest(chunks)
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
        "measured": [dataclasses.asdict(chunk) for chunk in chunks],
        "memory": memory,
        "largest_batch": largest,
    }


def _largest(
    config: RatioClassifier, task: Task, memory: int, progress: Progress
) -> dict[str, int | None]:
    """The largest batch that fits at once, with blocks as they are and recomputed."""
    import dataclasses

    import jax

    from jaxpriors.models.classifiers import init_classifier
    from jaxpriors.models.mlp import MLPConfig
    from jaxpriors.training.tuning import largest_batch

    inputs = config.inputs
    assert config.training is not None and inputs is not None
    assert config.network is not None and not isinstance(config.network, MLPConfig)
    found: dict[str, int | None] = {}
    first = config.training.batch_size
    for name, recomputed in (("kept", False), ("recomputed", True)):
        progress({"stage": f"largest batch, blocks {name}"})
        network = dataclasses.replace(config.network, checkpoint_blocks=recomputed)
        shapes = jax.eval_shape(
            lambda key, network=network: init_classifier(key, network, inputs),
            jax.random.key(0),
        )
        one = dataclasses.replace(task, params=shapes)
        found[name] = largest_batch(one, memory, first, progress)
        first = found[name] or first
    return found


def table(model: str, entry: dict[str, Any]) -> str:
    """What was found, as text."""
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
