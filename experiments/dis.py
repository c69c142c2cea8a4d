"""Deep-inelastic scattering: a precise likelihood ratio (arXiv:2603.08802, Section 3.2, Table 4).

    python -m experiments.dis quick --out runs/dis
    python -m experiments.dis paper --parts H1 --pretrained pet.safetensors --out RUN
    python -m experiments.dis paper --parts H1 --models lgatr-2M --seeds 3 --out runs/lgatr-2M-3
    python -m experiments.dis merge runs/lgatr-* runs/pet-* --out runs/all

``quick`` takes two settings of Pythia with a detector like H1's (``jaxpriors data simulate dis``;
surrogates for Rapgap and Djangoh), simulates the events at the first call, keeps them, and trains
small networks on two cores. ``paper`` takes H1's simulated jets, which OmniLearned distributes
(``jaxpriors data info h1``), or other files, and the published networks and trainings
(`jaxpriors.ratio.published`), for a GPU; its fine-tuned PET needs OmniLearn's own weights
(--pretrained). ``merge`` makes one run of the rows of several.

Networks see the 30 hardest constituents of each jet, L-GATr without their identities. Table 4 uses
test events, which no training has seen. Of several seeds it has the one with the smallest
validation loss, and the mean and spread of all; Figure 3 has their mean log ratio, and their spread
as a band. The known ratios of ``quick`` are weights of simulated events: an analytic function of
the jet (mass, multiplicity, width), or Pythia's weights of other scales of its initial-state
shower.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from experiments import rows
from experiments.dis_study import (
    RATIOS,
    TABLE,
    TEST,
    TRUTH,
    Evaluation,
    Fits,
    Pair,
    finished,
    run_fits,
)
from experiments.dry_run import EVENTS, noted, short_fit
from experiments.surrogates import Say, surrogate
from jaxpriors.data.batching import split
from jaxpriors.data.events import Events
from jaxpriors.data.formats.omnilearn import read_omnilearn_events
from jaxpriors.data.inspection.official import PARTS, read_official
from jaxpriors.data.sample_files import read_events
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import jet_observables
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.ratio import published
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.names import NetworkName
from jaxpriors.report.tables import tables
from jaxpriors.run.launch import guarded
from jaxpriors.run.storage import read_json
from jaxpriors.training.options import TrainingOptions

MODELS: tuple[NetworkName, ...] = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
ROWS = published.rows("dis")
SEEDS = (0, 1, 2, 3, 4)
CONSTITUENTS = 30
EPOCHS: dict[str, int] = {"lgatr-slim": 10, "lgatr": 6, "pet": 5, "pet-finetuned": 4}  # of quick
Case = Literal["analytic", "shower"]
CASES: tuple[Case, ...] = ("analytic", "shower")
INPUTS = {"pet": PointCloudConfig(normalisation="h1")}  # as in OmniLearn; others have defaults
SHOWERS = "weight_isr_mur_double", "weight_isr_mur_half"  # of simulation and data
LEVEL = "detector"
SEED = 23  # of the simulated samples
PART = "part"  # column: the place among PARTS


def quick(
    out: Path,
    events: int = 100_000,
    models: tuple[NetworkName, ...] = MODELS,
    seeds: tuple[int, ...] = (0,),
    cases: tuple[Case, ...] = CASES,
    constituents: int = CONSTITUENTS,
    resume: bool = False,
) -> int:
    """Make Table 4 with small networks on two settings of Pythia, and on known ratios.

    Args:
        out: folder of the run; must not exist, unless --resume.
        events: number of each sample; simulated at the first call (minutes), then kept.
        models: any of lgatr-slim, lgatr, pet, pet-finetuned.
        seeds: of the trainings of each model; with one or some of them, a run is part of a study.
        cases: cases of known ratios, any of analytic, shower.
        constituents: number of each jet that networks see, the hardest.
        resume: resume the run in the folder.
    """
    rows.check_asked(models, seeds, MODELS)
    fits: Fits = {
        model: {
            seed: RatioClassifier(model, "small", INPUTS.get(model)).with_options(
                TrainingOptions(epochs=EPOCHS[model], seed=seed)
            )
            for seed in seeds
        }
        for model in models
    }
    return run_fits(
        lambda say: simulated(events, constituents, cases, say),
        fits,
        Evaluation(),
        out,
        resume,
        {"events": events, "constituents": constituents, "cases": list(cases)},
    )


def paper(
    out: Path,
    parts: Path | None = None,
    simulation: Path | None = None,
    data: Path | None = None,
    layout: Literal["named", "omnilearn"] = "named",
    level: str | None = None,
    models: tuple[str, ...] = (),
    seeds: tuple[int, ...] = SEEDS,
    features: Literal["full", "momenta"] = "full",
    pretrained: Path | None = None,
    constituents: int = CONSTITUENTS,
    dry_run: bool = False,
    resume: bool = False,
) -> int:
    """Make Table 4 with the networks and trainings of the paper, on files.

    Args:
        out: folder of the run; must not exist, unless --resume.
        parts: folder with train, val and test, files or folders, in ours, OmniLearn's or
            OmniLearned's layout, as H1's (`data.official.read_official`). Each part is used for
            what it is. The labels are 0 (denominator; Djangoh in OmniLearn's files) and 1.
        simulation: instead of parts, HDF5 file of the sample in the denominator. It is split.
        data: HDF5 file of the sample in the numerator; without it, the other file holds both, with
            the labels 0 and 1.
        layout: layout of these two: named (`jaxpriors.data.sample_files`) or omnilearn.
        level: particle or detector, where a file holds both.
        models: rows of the table, any of lgatr-1M, lgatr-2M, lgatr-slim, pet, pet-finetuned; by
            default all, the last one only where --pretrained is given.
        seeds: of the trainings of each row; with one or some of them, a run is part of a study.
        features: what networks see: full (as published), or momenta alone.
        pretrained: a PET ported by `jaxpriors port omnilearn`, or the folder of a pretraining, for
            pet-finetuned.
        constituents: number of each jet that networks see, the hardest.
        dry_run: take 500 events of each sample and one step of each training: all runs, no number
            means anything.
        resume: resume the run in the folder.
    """
    models, notes = rows.asked_or_all(models, ROWS, pretrained)
    rows.check_asked(models, seeds, ROWS)
    files = {"parts": parts, "simulation": simulation, "data": data}
    given = [name for name, path in files.items() if path is not None]
    if given not in (["parts"], ["simulation"], ["simulation", "data"]):
        raise InputError(
            f"parts, simulation, data: found {', '.join(given) or 'none'}, expected --parts FOLDER "
            "with train, val and test, or --simulation FILE (and --data FILE)"
        )
    fits: Fits = {
        label: {
            seed: published.classifier(
                "dis",
                label,
                seed=seed,
                pretrained=pretrained if label == "pet-finetuned" else None,
                features=features,
            )
            for seed in seeds
        }
        for label in models
    }
    if dry_run:
        fits = {n: {seed: short_fit(one) for seed, one in f.items()} for n, f in fits.items()}

    def read(path: Path) -> Events:
        reader = read_omnilearn_events if layout == "omnilearn" else read_events
        return reader(path, level).hardest(constituents)

    def pair(say: Say) -> dict[str, Pair]:
        say({"stage": "reading the samples"})
        if parts is not None:
            found = of_parts(read_official(parts, level, constituents), parts)
        elif data is None:
            assert simulation is not None
            found = by_label(read(simulation), simulation)
        else:
            assert simulation is not None
            found = read(simulation), read(data)
        return {TABLE: (first(found[0]), first(found[1])) if dry_run else found}

    return run_fits(
        pair,
        fits,
        Evaluation(calibrate=False, part=None if parts is None else PART),
        out,
        resume,
        {
            "files": {n: None if f is None else str(f) for n, f in files.items()},
            "layout": layout,
            "level": level,
            "constituents": constituents,
            "dry_run": dry_run,
        },
        notes,
    )


def merge(runs: tuple[Path, ...], /, out: Path, resume: bool = False) -> int:
    """Make one run, with its tables and Figure 3, of the rows of several finished ones.

    Args:
        runs: folders of runs of ``paper``, or of ``quick``, on the same samples.
        out: folder of the run; must not exist, unless --resume.
        resume: resume the run in the folder.
    """
    known = tuple(dict.fromkeys((*ROWS, *MODELS)))
    metrics = rows.merge(runs, out, finished, known, files=(RATIOS,), shared=(TEST,), resume=resume)
    dry = read_json(out / "config.json")["sources"].get("dry_run", False)
    print(noted(tables(metrics), dry))
    print(f"\nfigures and metrics: {out}")
    return 0


def by_label(events: Events, path: Path) -> tuple[Events, Events]:
    """Split events of label 0 from those of label 1; raise InputError for other labels."""
    found = [] if events.label is None else np.unique(events.label).tolist()
    if found != [0, 1] or events.label is None:
        raise InputError(f"{path}: found the labels {found}, expected 0 and 1, or a second file")
    return events[events.label == 0], events[events.label == 1]


def of_parts(parts: dict[str, Events], folder: Path) -> Pair:
    """Join the parts of a split, whose places a column holds; give both labels by themselves."""
    pairs = [by_label(parts[name], folder / name) for name in PARTS]
    joined = []
    for one in zip(*pairs, strict=True):
        marked = [
            dataclasses.replace(events, label=None, columns={PART: np.full(len(events), place)})
            for place, events in enumerate(one)
        ]
        joined.append(Events.concatenate(marked))
    return joined[0], joined[1]


def first(events: Events) -> Events:
    """Take EVENTS events for a dry run, of each part as many where there are parts."""
    if PART not in events.columns:
        return events[:EVENTS]
    places = [np.flatnonzero(events.columns[PART] == place) for place in range(len(PARTS))]
    return events[np.concatenate([index[: EVENTS // len(PARTS)] for index in places])]


def simulated(events: int, constituents: int, cases: tuple[Case, ...], say: Say) -> dict[str, Pair]:
    """Give the surrogate samples at detector level; simulate them at the first call.

    The known ratios are of other events: one half is the simulation, the other half the data.
    """

    def sample(variant: str, number: int) -> Events:
        path = surrogate("dis", variant, number, SEED, say)
        return read_events(path, LEVEL).hardest(constituents)

    found = {TABLE: (sample("simulation", events), sample("data", events))}
    if not cases:
        return found
    varied = sample("simulation-variations", events)
    halves = split(len(varied), (0.5, 0.5), 1)
    for case in cases:
        before, after = np.ones(len(varied)), analytic(varied)
        if case == "shower":
            before, after = (varied.columns[name] for name in SHOWERS)
        known = dataclasses.replace(varied, columns=varied.columns | {TRUTH: after / before})
        simulation, data = (
            known[half].with_weight(w[half])
            for half, w in zip(halves, (before, after), strict=True)
        )
        found[case] = simulation, data
    return found


def analytic(events: Events) -> np.ndarray:
    """Give weights (n,) that make jets heavier, richer in constituents and wider."""
    jets = jet_observables(events)
    return np.exp(
        0.4 * np.tanh((jets["mass"] - 5) / 2.5)
        + 0.3 * np.tanh((jets["multiplicity"] - 11) / 5)
        - 0.3 * np.tanh((jets["width"] - 0.2) / 0.1)
    )


COMMANDS: dict[str, Any] = {"quick": quick, "paper": paper, "merge": merge}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
