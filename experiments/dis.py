"""Deep-inelastic scattering: a precise likelihood ratio (arXiv:2603.08802, Section 3.2, Table 4).

    python -m experiments.dis quick --out runs/dis
    python -m experiments.dis paper --simulation rapgap.h5 --data djangoh.h5 --out RUN

``quick`` takes two settings of Pythia with a detector like H1's (``jaxpriors data simulate dis``;
they stand in for Rapgap and Djangoh, whose samples H1 has not published), makes the events at the
first call, keeps them, and trains small networks on two cores. ``paper`` takes two files, in
the layout of `jaxpriors.data.sample_files` or in OmniLearn's, and the networks and trainings of
Appendix B, for a GPU; its fine-tuned PET needs OmniLearn's own weights (--pretrained).

Networks see the 30 hardest constituents of each jet. Table 4 is of test events, which no training
has seen, with log ratios at the temperature that suits the validation events. The known ratios are
those of simulated events with weights: an analytic function of the jet (mass, multiplicity,
width), or Pythia's weights of other scales of its initial-state shower.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from jaxpriors.cli import guarded
from jaxpriors.commands.reweight import Network, classifier

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.methods.classifier import RatioClassifier

MODELS: tuple[Network, ...] = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
CONSTITUENTS = 30
EPOCHS: dict[str, int] = {"lgatr-slim": 10, "lgatr": 6, "pet": 5, "pet-finetuned": 4}  # of quick
Case = Literal["analytic", "shower"]
CASES: tuple[Case, ...] = ("analytic", "shower")


def quick(
    out: Path,
    events: int = 100_000,
    seeds: int = 1,
    models: tuple[Network, ...] = MODELS,
    cases: tuple[Case, ...] = CASES,
    constituents: int = CONSTITUENTS,
    resume: bool = False,
) -> int:
    """Table 4 with small networks on two settings of Pythia, and ratios that are known.

    Args:
        out: folder of the run; must not exist, unless --resume.
        events: of each sample; made at the first call (minutes), then taken.
        seeds: trainings of each model.
        models: any of lgatr-slim, lgatr, pet, pet-finetuned.
        cases: of the known ratios, any of analytic, shower.
        constituents: the hardest of each jet that networks see.
        resume: go on with the run in the folder.
    """
    from experiments import dis_study

    fits: dict[str, list[RatioClassifier]] = {
        model: [
            classifier(model, "small", seed, _inputs(model), epochs=EPOCHS[model])
            for seed in range(seeds)
        ]
        for model in models
    }
    return dis_study.run(
        lambda say: dis_study.simulated(events, constituents, cases, say),
        fits,
        out,
        resume,
        {"events": events, "constituents": constituents, "cases": list(cases)},
    )


def paper(
    simulation: Path,
    out: Path,
    data: Path | None = None,
    layout: Literal["named", "omnilearn"] = "named",
    level: str | None = None,
    pretrained: Path | None = None,
    seeds: int = 5,
    constituents: int = CONSTITUENTS,
    resume: bool = False,
) -> int:
    """Table 4 with the networks and trainings of the paper, on files.

    Args:
        simulation: HDF5 file of the sample in the denominator (Rapgap).
        out: folder of the run; must not exist, unless --resume.
        data: HDF5 file of the sample in the numerator (Djangoh); without it, the other file holds
            both, with the labels 0 (Rapgap) and 1 (Djangoh).
        layout: of the files: named (`jaxpriors.data.sample_files`) or omnilearn.
        level: particle or detector, where a file holds both.
        pretrained: a PET ported by `jaxpriors port omnilearn`, or the folder of a pretraining;
            without it no PET is fine-tuned, as the one in this package is a small one.
        seeds: trainings of each model.
        constituents: the hardest of each jet that networks see.
        resume: go on with the run in the folder.
    """
    from experiments import dis_study
    from jaxpriors.data.omnilearn import read_omnilearn_events
    from jaxpriors.data.sample_files import read_events

    def read(path: Path) -> Events:
        reader = read_omnilearn_events if layout == "omnilearn" else read_events
        return reader(path, level).hardest(constituents)

    def pair() -> tuple[Events, Events]:
        first = read(simulation)
        return by_label(first, simulation) if data is None else (first, read(data))

    files = simulation, data
    return dis_study.run(
        lambda say: {"table4": pair()},
        _paper_fits(seeds, pretrained),
        out,
        resume,
        {
            "files": [str(f) for f in files],
            "layout": layout,
            "level": level,
            "constituents": constituents,
        },
    )


def by_label(events: Events, path: Path) -> tuple[Events, Events]:
    """The events of label 0 and those of label 1; InputError where there are others or none."""
    import numpy as np

    from jaxpriors.errors import InputError

    found = [] if events.label is None else np.unique(events.label).tolist()
    if found != [0, 1] or events.label is None:
        raise InputError(f"{path}: found the labels {found}, expected 0 and 1, or a second file")
    return events[events.label == 0], events[events.label == 1]


def _inputs(model: str) -> Any:
    """A PET from scratch has the normalisation that OmniLearn uses for H1; others their own."""
    from jaxpriors.features import PointCloudConfig

    return PointCloudConfig(normalisation="h1") if model == "pet" else None


def _paper_fits(seeds: int, pretrained: Path | None) -> dict[str, list[RatioClassifier]]:
    """Appendix B: Lion with 3e-5 and weight decay 0.2, batches of 256 (PET) or 512, 20 epochs."""
    import dataclasses

    from jaxpriors.models.presets import LGATR_2M
    from jaxpriors.training.loop import TrainingConfig
    from jaxpriors.training.optimizers import OptimizerConfig

    lion = OptimizerConfig("lion", 3e-5, 0.2)
    found: dict[str, list[Any]] = {}
    for label, model, batch in (
        ("lgatr-1M", "lgatr", 512),
        ("lgatr-2M", "lgatr", 512),
        ("lgatr-slim", "lgatr-slim", 512),
        ("pet", "pet", 256),
        ("pet-finetuned", "pet-finetuned", 256),
    ):
        if model == "pet-finetuned" and pretrained is None:
            continue
        source = pretrained if model == "pet-finetuned" else None
        some = []
        for seed in range(seeds):
            one = classifier(model, "paper", seed, _inputs(model), source)
            assert one.training is not None
            rule = dataclasses.replace(lion, body_factor=one.training.optimizer.body_factor)
            training = TrainingConfig(rule, batch_size=batch, epochs=20, seed=seed)
            network = LGATR_2M if label == "lgatr-2M" else one.network
            some.append(dataclasses.replace(one, network=network, training=training))
        found[label] = some
    return found


COMMANDS: dict[str, Any] = {"quick": quick, "paper": paper}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
