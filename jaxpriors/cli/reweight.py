"""`jaxpriors reweight` and `jaxpriors ratio`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jaxpriors.cli.options import In, InputOptions, NetworkOptions, RunOptions, SampleOptions
from jaxpriors.ratio.names import ModelName
from jaxpriors.training.options import TrainingOptions

if TYPE_CHECKING:
    import numpy as np

    from jaxpriors.ratio.classifier import RatioClassifier
    from jaxpriors.ratio.reweighting import Reweighting


@dataclass(frozen=True)
class Fit:
    """Choose the networks, their inputs and training, and how to read the samples.

    Args:
        model: one or several networks; pet-finetuned is a pet that starts from pretrained weights,
            mlp sees only the six observables, or --inputs.
        network: size, start and precision of the networks.
        seen: what the networks see.
        samples: how to read the files.
        training: options of the training.
        ensemble: networks of each model that train as one program; the result is the mean of their
            log ratios, with their spread.
        bootstrap: each network of an ensemble weights the training events with its own Poisson
            counts, so that the spread covers the statistics of the samples.
        ranges: lowest and highest value of observables in tables and figures, as in
            "mass 0 300 width 0 1"; others follow the samples where the usual range does not.
    """

    model: tuple[ModelName, ...] = ("lgatr-slim",)
    network: In[NetworkOptions] = field(default_factory=NetworkOptions)
    seen: In[InputOptions] = field(default_factory=InputOptions)
    samples: In[SampleOptions] = field(default_factory=SampleOptions)
    training: In[TrainingOptions] = field(default_factory=TrainingOptions)
    ensemble: int | None = None
    bootstrap: bool = False
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    def classifiers(self) -> tuple[RatioClassifier, ...]:
        """Make one classifier for each model; raise InputError for options that none has."""
        from jaxpriors.ratio.classifier import RatioClassifier

        pretrained = self.network.pretrained_for(self.model)
        inputs = self.seen.inputs_for(self.model, pretrained)
        return tuple(
            RatioClassifier(
                name,
                self.network.size,
                inputs[name],
                pretrained=pretrained[name],
                ensemble=self.ensemble,
                bootstrap=self.bootstrap,
            ).with_options(self.training, self.network.precision)
            for name in self.model
        )


def reweight(
    simulation: Path,
    data: Path,
    /,
    run: In[RunOptions],
    write: Path | None = None,
    bins: Literal["own", "published"] = "own",
    fit: In[Fit] = Fit(),
) -> int:
    """Reweight one sample into another.

    Trains a classifier between the two, weights each simulated event by the likelihood ratio,
    and writes weights.h5, metrics.json and figures into a folder.

    Args:
        simulation: HDF5 file of the sample to reweight.
        data: HDF5 file of the target sample.
        run: folder of the run and its processes.
        write: a .root or .parquet file for the new weights, with the entries of the simulation's
            tree, as a friend of it.
        bins: of the table and figure: own, with bootstrap errors, or published, those of
            arXiv:2404.16091 and arXiv:2603.08802 with their errors.
        fit: configuration of the fit.
    """
    from jaxpriors.ratio.reweighting import Reweighting

    config = Reweighting(fit.classifiers(), seed=fit.training.seed, ranges=fit.ranges, bins=bins)
    return _run(simulation, data, fit, run, config, write)


def ratio(
    simulation: Path,
    data: Path,
    /,
    run: In[RunOptions],
    truth: str | None = None,
    write: Path | None = None,
    fit: In[Fit] = Fit(),
) -> int:
    """Learn the likelihood ratio of two samples, calibrate it, and measure how good it is.

    The command does what `reweight` does. It also divides the log ratios by the temperature that
    fits the validation events best; prints AUC, accuracy, rejection and calibration error with
    statistical errors; draws a reliability diagram; compares the mean ratio with 1, the moments of
    the reweighted simulation with those of the data, and the ratios with the true ones, if known.

    Args:
        simulation: HDF5 file of the sample in the denominator.
        data: HDF5 file of the sample in the numerator.
        run: folder of the run and its processes.
        truth: the simulation's column with the factors on its weights that turn it into the data,
            where they are known.
        write: a .root or .parquet file for the new weights, with the entries of the simulation's
            tree, as a friend of it.
        fit: configuration of the fit.
    """
    from jaxpriors.ratio.reweighting import Reweighting

    config = Reweighting(
        fit.classifiers(),
        seed=fit.training.seed,
        observables="jet",
        calibrate=True,
        truth=truth,
        ranges=fit.ranges,
    )
    return _run(simulation, data, fit, run, config, write)


def _run(
    simulation: Path,
    data: Path,
    fit: Fit,
    options: RunOptions,
    config: Reweighting,
    write: Path | None,
) -> int:
    """Run or resume a reweighting in a folder, write its weights back and print its tables."""
    from jaxpriors.data.friends import check_friend
    from jaxpriors.ratio.reweighting import run_reweighting
    from jaxpriors.ratio.weights import write_back
    from jaxpriors.report.tables import tables
    from jaxpriors.run.folder import started

    sources = {"simulation": str(simulation), "data": str(data), **fit.samples.as_json()}
    if write is not None:
        check_friend(write)
    with started(options.out, options.resume) as run:
        metrics = run_reweighting(*fit.samples.read(simulation, data), config, run, sources)
        if write is not None:
            write_back(options.out / "weights.h5", write, *_entries(simulation, fit))
    print(tables(metrics))
    if write is not None:
        print(f"\nweights by entry: {write}")
    print(f"\nweights, figures and metrics: {options.out}")
    return 0


def _entries(simulation: Path, fit: Fit) -> tuple[int | None, np.ndarray | None]:
    """Count the entries of the simulation's tree and the jets of each; None where none is known."""
    from jaxpriors.data.formats.trees import is_tree, jets

    return jets(simulation, fit.samples.reading()) if is_tree(simulation) else (None, None)
