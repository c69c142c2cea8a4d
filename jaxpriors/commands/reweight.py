"""`jaxpriors reweight` and `jaxpriors ratio`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.methods.classifier import RatioClassifier
    from jaxpriors.methods.reweighting import Reweighting

Network = Literal["lgatr", "lgatr-slim", "pet", "pet-finetuned"]  # of constituents
Compute = Literal["float32", "tensorfloat32", "bfloat16"]
Model = Literal[Network, "mlp"]


@dataclasses.dataclass(frozen=True)
class Fit:
    """What is fitted to which columns of two samples: the options of `reweight` and `ratio`.

    Args:
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
        micro_batch: events that a device works on at once, over which it accumulates the gradient
            of a batch; otherwise what `jaxpriors tune` found, else 8 on CPUs and all on GPUs.
        learning_rate: other than the size's own.
        precision: in which the networks compute; weights, losses and norms are float32 either way.
        ensemble: train so many networks of each model at once, with different first weights, and
            take the mean of their log ratios; their spread is an error of the training.
        bootstrap: let each network of the ensemble weigh the training events with Poisson numbers
            of its own, so that the spread covers the statistics of the samples as well.
        seed: of the split into parts, the weights and the order of events.
    """

    model: tuple[Model, ...] = ("lgatr-slim",)
    size: Literal["small", "paper"] = "small"
    level: str | None = None
    columns: dict[str, str] | None = None
    coordinates: str | None = None
    features: Literal["full", "momenta"] = "full"
    beam: Literal["lightlike", "spacelike", "timelike", "xyplane", "none"] = "lightlike"
    time: bool = True
    pretrained: Path | None = None
    epochs: int | None = None
    batch_size: int | None = None
    micro_batch: int | None = None
    learning_rate: float | None = None
    precision: Compute = "float32"
    ensemble: int | None = None
    bootstrap: bool = False
    seed: int = 0

    def classifiers(self) -> tuple[RatioClassifier, ...]:
        """One for each model; InputError for options that none of them has."""
        found = classifiers(
            self.model,
            self.size,
            self.seed,
            self.features,
            self.beam,
            self.time,
            self.pretrained,
            epochs=self.epochs,
            batch_size=self.batch_size,
            micro_batch=self.micro_batch,
            learning_rate=self.learning_rate,
            precision=self.precision,
        )
        return tuple(
            dataclasses.replace(one, ensemble=self.ensemble, bootstrap=self.bootstrap)
            for one in found
        )

    def samples(self, simulation: Path, data: Path) -> tuple[Events, Events]:
        """The samples of two files."""
        return read_samples(simulation, data, self.level, self.columns, self.coordinates)

    def sources(self, simulation: Path, data: Path) -> dict[str, Any]:
        """Where the samples are from, for the run's record."""
        return {
            "simulation": str(simulation),
            "data": str(data),
            "level": self.level,
            "columns": self.columns,
            "coordinates": self.coordinates,
        }


def reweight(
    simulation: Path,
    data: Path,
    /,
    out: Path,
    fit: Annotated[Fit, tyro.conf.arg(name="")] = Fit(),
    resume: bool = False,
) -> int:
    """Reweight one sample into another.

    Trains a classifier between the two, weights each simulated event by the likelihood ratio,
    and writes weights.h5, metrics.json and figures into a folder.

    Args:
        simulation: HDF5 file of the sample to reweight.
        data: HDF5 file of the sample to look like.
        out: folder of the run; must not exist, unless --resume.
        fit: what is fitted.
        resume: go on with the run in the folder.
    """
    from jaxpriors.methods.reweighting import Reweighting

    config = Reweighting(fit.classifiers(), seed=fit.seed)
    samples = fit.samples(simulation, data)
    return run(*samples, config, out, resume, fit.sources(simulation, data))


def ratio(
    simulation: Path,
    data: Path,
    /,
    out: Path,
    truth: str | None = None,
    fit: Annotated[Fit, tyro.conf.arg(name="")] = Fit(),
    resume: bool = False,
) -> int:
    """Learn the likelihood ratio of two samples, calibrate it, and measure how good it is.

    As `reweight`, and: the log ratios are divided by the temperature that suits the validation
    events best; AUC, accuracy, rejection and calibration error with statistical errors are
    printed; a reliability diagram is drawn; the mean ratio and the moments of the reweighted
    simulation are compared with 1 and the data's, and the ratios with the true ones, if known.

    Args:
        simulation: HDF5 file of the sample in the denominator.
        data: HDF5 file of the sample in the numerator.
        out: folder of the run; must not exist, unless --resume.
        truth: the simulation's column with the factors to its weights that turn it into the data,
            where such are known.
        fit: what is fitted.
        resume: go on with the run in the folder.
    """
    from jaxpriors.methods.reweighting import Reweighting

    config = Reweighting(
        fit.classifiers(), seed=fit.seed, observables="jet", calibrate=True, truth=truth
    )
    samples = fit.samples(simulation, data)
    return run(*samples, config, out, resume, fit.sources(simulation, data))


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
    """Run (or go on with) a reweighting in a folder and print its tables."""
    from jaxpriors.commands.progress import Display
    from jaxpriors.commands.report import tables
    from jaxpriors.commands.setup import use_all_cores, use_compilation_cache

    use_all_cores()
    use_compilation_cache()
    with Display() as display:
        metrics = fitted(simulation, data, config, out, resume, sources, display)
    print(tables(metrics))
    print(f"\nweights, figures and metrics: {out}")
    return 0


def fitted(
    simulation: Events,
    data: Events,
    config: Reweighting,
    out: Path,
    resume: bool,
    sources: dict[str, Any],
    display: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """The metrics of a reweighting in that folder, which is run unless it was."""
    from jaxpriors.commands.chunks import begun, multiplicity, with_chunks
    from jaxpriors.methods import reweighting
    from jaxpriors.training.runs import exists, open_run, read_json

    sources = {**sources, "digests": [simulation.digest(), data.digest()]}
    prepared = None
    if not exists(out / "metrics.json"):
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
    return dict(read_json(out / "metrics.json"))
