"""`jaxpriors pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxpriors.commands.reweight import Compute

if TYPE_CHECKING:
    from jaxpriors.data.stored import Sample
    from jaxpriors.methods.pretraining import Pretraining


def pretrain(
    sample: Path,
    /,
    out: Path,
    size: Literal["small", "paper"] = "small",
    mode: Literal["all", "classifier", "generator"] = "all",
    level: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    learning_rate: float | None = None,
    precision: Compute = "float32",
    seed: int = 0,
    resume: bool = False,
) -> int:
    """Pretrain PET on a sample of labelled jets.

    Trains one network to tell the classes apart, to predict the jets' features and to generate
    constituents by diffusion, and writes model/network.safetensors, metrics.json and figures into
    a folder.

    Args:
        sample: HDF5 file of jets with labels from 0, or the folder of a prepared sample, which
            stays on disk.
        out: folder of the run; must not exist, unless --resume.
        size: small (under an hour on two cores) or paper (OmniLearn's own, arXiv:2404.16091).
        mode: the whole objective, or that of one head.
        level: particle or detector, where the file holds both.
        epochs: other than the size's own.
        batch_size: other than the size's own.
        micro_batch: events that a device works on at once, over which it accumulates the gradient
            of a batch; otherwise what `jaxpriors tune` found, else 8 on CPUs and all on GPUs.
        learning_rate: other than the size's own.
        precision: in which the networks compute; weights, losses and norms are float32 either way.
        seed: of the split into parts, the weights, the order of events and the noise.
        resume: go on with the run in the folder.
    """
    from jaxpriors.data.files import levels, read_metadata
    from jaxpriors.data.prepared import is_prepared, open_prepared
    from jaxpriors.data.sample_files import read_events

    numbers = (epochs, batch_size, learning_rate, precision, micro_batch)
    config = pretraining(size, mode, seed, *numbers)
    level = level if levels(sample) else None
    events = open_prepared(sample, level) if is_prepared(sample) else read_events(sample, level)
    sources = {"sample": str(sample), "level": level}
    return run(events, config, out, resume, sources, read_metadata(sample))


def pretraining(
    size: Literal["small", "paper"],
    mode: Literal["all", "classifier", "generator"] = "all",
    seed: int = 0,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    precision: Compute | None = None,
    micro_batch: int | None = None,
) -> Pretraining:
    """The pretraining of that size with some numbers of its training replaced."""
    from jaxpriors.methods.pretraining import TRAINING, Pretraining
    from jaxpriors.training.loop import with_numbers

    numbers = (epochs, batch_size, learning_rate, precision, micro_batch)
    training = with_numbers(TRAINING[size], seed, *numbers)
    return Pretraining(size, mode, training=training)


def run(
    events: Sample,
    config: Pretraining,
    out: Path,
    resume: bool,
    sources: dict[str, Any],
    metadata: dict[str, Any],
) -> int:
    """Run (or go on with) a pretraining in a folder, write its card and print its results."""
    import dataclasses

    from jaxpriors.commands.chunks import begun, resolved
    from jaxpriors.commands.progress import Display
    from jaxpriors.commands.setup import use_all_cores, use_compilation_cache
    from jaxpriors.methods import pretraining as method
    from jaxpriors.methods.card import write_card
    from jaxpriors.training.runs import exists, open_run, read_json

    use_all_cores()
    use_compilation_cache()
    with Display() as display:
        display({"stage": "looking at the sample"})
        parts, config = method.prepare(events, config)
        assert config.training is not None and config.network is not None
        training = resolved(
            config.training,
            config.network,
            parts["train"].multiplicity,
            begun(out, "training"),
            lambda text: display({"stage": text}),
        )
        config = dataclasses.replace(config, training=training)
        sources = {**sources, "digest": events.digest()}
        open_run(out, {**dataclasses.asdict(config), "sources": sources}, resume)
        if not exists(out / "metrics.json"):
            method.pretrain(parts, config, out, display)
    card = write_card(out, metadata)
    for name, results in read_json(out / "metrics.json")["test"].items():
        print(f"{name}, on test events")
        for quantity, value in results.items():
            print(f"  {quantity:<25}{value:.5f}")
    print(f"\nnetworks, figures and metrics: {out}\ncard of the networks: {card}")
    return 0
