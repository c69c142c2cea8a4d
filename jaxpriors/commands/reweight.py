"""`jaxpriors reweight` and `jaxpriors report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.methods.classifier import RatioClassifier
    from jaxpriors.methods.reweighting import Reweighting

Network = Literal["lgatr", "lgatr-slim", "pet", "pet-finetuned"]  # of constituents
Compute = Literal["float32", "tensorfloat32", "bfloat16"]
Model = Literal[Network, "mlp"]


def reweight(
    simulation: Path,
    data: Path,
    /,
    out: Path,
    model: tuple[Model, ...] = ("lgatr-slim",),
    size: Literal["small", "paper"] = "small",
    level: str | None = None,
    columns: dict[str, str] | None = None,
    coordinates: str | None = None,
    features: Literal["full", "momenta"] = "full",
    beam: Literal["lightlike", "spacelike", "timelike", "xyplane", "none"] = "lightlike",
    time: bool = True,
    pretrained: Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    precision: Compute = "float32",
    ensemble: int | None = None,
    bootstrap: bool = False,
    seed: int = 0,
    resume: bool = False,
) -> int:
    """Reweight one sample into another.

    Trains a classifier between the two, weights each simulated event by the likelihood ratio,
    and writes weights.h5, metrics.json and figures into a folder.

    Args:
        simulation: HDF5 file of the sample to reweight.
        data: HDF5 file of the sample to look like.
        out: folder of the run; must not exist, unless --resume.
        model: one or several networks; pet-finetuned is a pet that starts from pretrained weights,
            mlp sees the six observables alone.
        size: small (minutes on two cores) or paper (arXiv:2603.08802, Appendix B, and for PET
            OmniLearn, arXiv:2404.16091).
        level: particle or detector, where a file holds both.
        columns: our names of columns and yours, as in --columns p4 jets/momenta pid jets/id, in
            both files (else bring them into one form with `jaxpriors data convert`).
        coordinates: of the momenta: E,px,py,pz or pt,eta,phi,m or pt,eta,phi.
        features: of lgatr and lgatr-slim: full (kinematics and identities of the constituents) or
            momenta (four-vectors).
        beam: of lgatr and lgatr-slim: reference vectors that stand for the beam.
        time: of lgatr and lgatr-slim: whether a reference vector stands for the time direction.
        pretrained: of pet-finetuned: a PET ported by `jaxpriors port omnilearn`, or the folder of
            a pretraining; otherwise the weights in this package.
        epochs: other than the size's own.
        batch_size: other than the size's own.
        learning_rate: other than the size's own.
        precision: in which the networks compute; weights, losses and norms are float32 either way.
        ensemble: train so many networks of each model at once, with different first weights, and
            take the mean of their log ratios; their spread is an error of the training.
        bootstrap: let each network of the ensemble weigh the training events with Poisson numbers
            of its own, so that the spread covers the statistics of the samples as well.
        seed: of the split into parts, the weights and the order of events.
        resume: go on with the run in the folder.
    """
    import dataclasses

    from jaxpriors.methods.reweighting import Reweighting

    chosen = tuple(
        dataclasses.replace(one, ensemble=ensemble, bootstrap=bootstrap)
        for one in classifiers(
            model,
            size,
            seed,
            features,
            beam,
            time,
            pretrained,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            precision=precision,
        )
    )
    samples = read_samples(simulation, data, level, columns, coordinates)
    sources = {
        "simulation": str(simulation),
        "data": str(data),
        "level": level,
        "columns": columns,
        "coordinates": coordinates,
    }
    return run(*samples, Reweighting(chosen, seed=seed), out, resume, sources)


def classifiers(
    models: tuple[str, ...],
    size: Literal["small", "paper"],
    seed: int,
    features: Any,
    beam: Any,
    time: bool,
    pretrained: Path | None,
    **numbers: Any,
) -> tuple[RatioClassifier, ...]:
    """The classifiers of the command's options; numbers: those of `training.loop.with_numbers`.

    Raises InputError for options that none of the models has.
    """
    from jaxpriors.errors import InputError
    from jaxpriors.inputs import InputConfig
    from jaxpriors.methods.trainings import FINE_TUNED

    inputs = InputConfig(features=features, beam=beam, time=time)
    if inputs != InputConfig() and not any(name.startswith("lgatr") for name in models):
        raise InputError(f"features, beam, time: found {inputs} for {models}, which have no tokens")
    if pretrained is not None and FINE_TUNED not in models:
        raise InputError(f"pretrained: found {pretrained} for {models}, expected {FINE_TUNED!r}")
    return tuple(
        classifier(
            name,
            size,
            seed,
            inputs=inputs if name.startswith("lgatr") else None,
            pretrained=pretrained if name == FINE_TUNED else None,
            **numbers,
        )
        for name in models
    )


def read_samples(
    simulation: Path,
    data: Path,
    level: str | None,
    columns: dict[str, str] | None,
    coordinates: str | None,
) -> tuple[Events, Events]:
    """The two samples; ``level`` counts for files that hold several."""
    from jaxpriors.data.files import levels
    from jaxpriors.data.sample_files import read_events

    def read(path: Path) -> Events:
        return read_events(path, level if levels(path) else None, columns, coordinates)

    return read(simulation), read(data)


def classifier(
    model: str,
    size: Literal["small", "paper"],
    seed: int,
    inputs: Any = None,
    pretrained: Path | None = None,
    **numbers: Any,
) -> RatioClassifier:
    """The classifier of that model and size with some numbers of its training replaced.

    numbers: those of `training.loop.with_numbers`.
    """
    import dataclasses

    from jaxpriors.methods.classifier import RatioClassifier
    from jaxpriors.training.loop import with_numbers

    base = RatioClassifier(model, size, inputs, pretrained=pretrained).resolved()
    assert base.training is not None
    training = with_numbers(base.training, seed, **numbers)
    return dataclasses.replace(base, training=training)


def run(
    simulation: Events,
    data: Events,
    config: Reweighting,
    out: Path,
    resume: bool,
    sources: dict[str, Any],
) -> int:
    """Run (or go on with) a reweighting in a folder and print its table."""
    import dataclasses

    from jaxpriors.commands.chunks import begun, multiplicity, with_chunks
    from jaxpriors.commands.progress import Display
    from jaxpriors.commands.setup import use_all_cores, use_compilation_cache
    from jaxpriors.evaluation.report import format_table
    from jaxpriors.methods import reweighting
    from jaxpriors.training.runs import open_run, read_json

    use_all_cores()
    use_compilation_cache()
    sources = {**sources, "digests": [simulation.digest(), data.digest()]}
    with Display() as display:
        prepared = None
        if not (out / "metrics.json").exists():
            display({"stage": "looking at the samples"})
            prepared = reweighting.prepare(simulation, data, config)
        lengths = None if prepared is None else multiplicity(*prepared.part("train"))
        filled = tuple(
            with_chunks(one, lengths, begun(out, "classifiers", number, "training"), display)
            for number, one in enumerate(config.classifiers)
        )
        config = dataclasses.replace(config, classifiers=filled)
        open_run(out, {**reweighting.resolved(config), "sources": sources}, resume)
        if prepared is not None:
            reweighting.reweight(prepared, config, out, display)
    print(format_table(read_json(out / "metrics.json")))
    print(f"\nweights, figures and metrics: {out}")
    return 0


def report(run: Path, /) -> int:
    """Print the table of a finished run.

    Args:
        run: folder of the run.
    """
    from jaxpriors.evaluation.report import format_table
    from jaxpriors.training.runs import read_json

    print(format_table(read_json(run / "metrics.json")))
    return 0
