"""Deep-inelastic scattering: a precise likelihood ratio (arXiv:2603.08802, Section 3.2, Table 4).

    python -m experiments.dis quick --out runs/dis
    python -m experiments.dis paper --simulation rapgap.h5 --data djangoh.h5 --out RUN

``quick`` takes two settings of Pythia with a detector like H1's (``jaxpriors data simulate dis``;
surrogates for Rapgap and Djangoh, whose samples H1 has not published), simulates the events at the
first call, keeps them, and trains small networks on two cores. ``paper`` takes two files, in
the layout of `jaxpriors.data.sample_files` or in OmniLearn's, and the networks and trainings of
Appendix B, for a GPU; its fine-tuned PET needs OmniLearn's own weights (--pretrained).

Networks see the 30 hardest constituents of each jet. Table 4 uses test events, which no training
has seen, with log ratios at the temperature that fits the validation events best. The known ratios
are weights of simulated events: an analytic function of the jet (mass, multiplicity, width), or
Pythia's weights of other scales of its initial-state shower.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from experiments.surrogates import Say, surrogate
from jaxpriors.data.batching import split
from jaxpriors.data.events import Events
from jaxpriors.data.formats.omnilearn import read_omnilearn_events
from jaxpriors.data.sample_files import read_events
from jaxpriors.errors import InputError
from jaxpriors.evaluation.figures import save_figure
from jaxpriors.evaluation.observables import jet_observables
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.model import RatioModel, reweighted
from jaxpriors.ratio.names import NetworkName
from jaxpriors.ratio.networks import NetworkConfig
from jaxpriors.ratio.presets import find_model, lgatr_2m
from jaxpriors.ratio.reweighting import (
    Reweighting,
    draw_observables,
    prepare_reweighting,
    run_reweighting,
)
from jaxpriors.report.tables import tables
from jaxpriors.run.folder import Run, started
from jaxpriors.run.launch import guarded
from jaxpriors.training.loop import TrainingConfig
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.training.options import TrainingOptions

MODELS: tuple[NetworkName, ...] = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
CONSTITUENTS = 30
EPOCHS: dict[str, int] = {"lgatr-slim": 10, "lgatr": 6, "pet": 5, "pet-finetuned": 4}  # of quick
Case = Literal["analytic", "shower"]
CASES: tuple[Case, ...] = ("analytic", "shower")
INPUTS = {"pet": PointCloudConfig(normalisation="h1")}  # as in OmniLearn; others have defaults
# of paper: label → model, batch size, network where it is not that of size "paper"
PAPER: dict[str, tuple[str, int, Callable[[], NetworkConfig] | None]] = {
    "lgatr-1M": ("lgatr", 512, None),
    "lgatr-2M": ("lgatr", 512, lgatr_2m),
    "lgatr-slim": ("lgatr-slim", 512, None),
    "pet": ("pet", 256, None),
    "pet-finetuned": ("pet-finetuned", 256, None),
}

TABLE, TRUTH = "table4", "truth"
SHOWERS = "weight_isr_mur_double", "weight_isr_mur_half"  # of simulation and data
LEVEL = "detector"
SEED = 23  # of the simulated samples
BEST = ("auc", "accuracy", "rejection50")
Pair = tuple[Events, Events]


def quick(
    out: Path,
    events: int = 100_000,
    seeds: int = 1,
    models: tuple[NetworkName, ...] = MODELS,
    cases: tuple[Case, ...] = CASES,
    constituents: int = CONSTITUENTS,
    resume: bool = False,
) -> int:
    """Make Table 4 with small networks on two settings of Pythia, and on known ratios.

    Args:
        out: folder of the run; must not exist, unless --resume.
        events: number of each sample; simulated at the first call (minutes), then kept.
        seeds: number of trainings of each model.
        models: any of lgatr-slim, lgatr, pet, pet-finetuned.
        cases: cases of known ratios, any of analytic, shower.
        constituents: number of each jet that networks see, the hardest.
        resume: resume the run in the folder.
    """
    fits: dict[str, list[RatioClassifier]] = {
        model: [
            RatioClassifier(model, "small", INPUTS.get(model)).with_options(
                TrainingOptions(epochs=EPOCHS[model], seed=seed)
            )
            for seed in range(seeds)
        ]
        for model in models
    }
    return run_fits(
        lambda say: simulated(events, constituents, cases, say),
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
    """Make Table 4 with the networks and trainings of the paper, on files.

    Args:
        simulation: HDF5 file of the sample in the denominator (Rapgap).
        out: folder of the run; must not exist, unless --resume.
        data: HDF5 file of the sample in the numerator (Djangoh); without it, the other file holds
            both, with the labels 0 (Rapgap) and 1 (Djangoh).
        layout: layout of the files: named (`jaxpriors.data.sample_files`) or omnilearn.
        level: particle or detector, where a file holds both.
        pretrained: a PET ported by `jaxpriors port omnilearn`, or the folder of a pretraining;
            without it no PET is fine-tuned, as the PET in this package is small.
        seeds: number of trainings of each model.
        constituents: number of each jet that networks see, the hardest.
        resume: resume the run in the folder.
    """

    def read(path: Path) -> Events:
        reader = read_omnilearn_events if layout == "omnilearn" else read_events
        return reader(path, level).hardest(constituents)

    def pair() -> tuple[Events, Events]:
        first = read(simulation)
        return by_label(first, simulation) if data is None else (first, read(data))

    files = simulation, data
    return run_fits(
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
    """Split events of label 0 from those of label 1; raise InputError for other labels."""
    found = [] if events.label is None else np.unique(events.label).tolist()
    if found != [0, 1] or events.label is None:
        raise InputError(f"{path}: found the labels {found}, expected 0 and 1, or a second file")
    return events[events.label == 0], events[events.label == 1]


def _paper_fits(seeds: int, pretrained: Path | None) -> dict[str, list[RatioClassifier]]:
    """Configure Appendix B: Lion, 3e-5, decay 0.2, batches of 256 (PET) or 512, 20 epochs."""
    lion = OptimizerConfig("lion", 3e-5, 0.2)
    found: dict[str, list[Any]] = {}
    for label, (model, batch, network) in PAPER.items():
        takes = find_model(model).pretrained
        if takes and pretrained is None:
            continue
        source = pretrained if takes else None
        given = network and network()
        one = RatioClassifier(model, "paper", INPUTS.get(model), given, pretrained=source)
        rule = dataclasses.replace(lion, body_factor=one.training.optimizer.body_factor)
        found[label] = [
            dataclasses.replace(
                one, training=TrainingConfig(rule, batch_size=batch, epochs=20, seed=seed)
            )
            for seed in range(seeds)
        ]
    return found


def run_fits(
    make: Callable[[Say], dict[str, Pair]],
    fits: dict[str, list[RatioClassifier]],
    out: Path,
    resume: bool,
    sources: dict[str, Any],
) -> int:
    """Fit every model and seed, and print the tables.

    make: gives the pair "table4" and the pairs with known ratios, by case. fits: label → one
    classifier for each seed. Raises InputError where there is nothing to fit.
    """
    if not fits or not all(fits.values()):
        raise InputError(f"models, seeds: found {fits}, expected at least one of each")
    asked = {
        label: [dataclasses.asdict(_config(one)) for one in some] for label, some in fits.items()
    }
    with started(out, resume) as opened:
        opened.open({"fits": asked, "sources": sources})
        metrics = opened.results(lambda: study(make(opened.progress), fits, opened))
    print(tables(metrics))
    print(f"\nweights, figures and metrics: {out}")
    return 0


def study(
    samples: dict[str, Pair], fits: dict[str, list[RatioClassifier]], run: Run
) -> dict[str, Any]:
    """Fit, draw Figure 3, and give {"table4": …, "closure": …, "known_ratio": …}."""
    metrics: dict[str, Any] = {TABLE: {}, "closure": {}}
    for case, pair in samples.items():
        key = {"analytic": "known_ratio", "shower": "known_ratio_shower"}.get(case, case)
        for label, some in fits.items():
            seeds = some if case == TABLE else some[:1]
            found = []
            for seed, one in enumerate(seeds):
                run.progress({"stage": f"{case}: {label}, seed {seed}"})
                inner = run.within(case, label, f"seed-{seed}")
                config = _config(one, None if case == TABLE else TRUTH)
                found.append(run_reweighting(*pair, config, inner, {"case": case}))
            if case == TABLE:
                metrics[TABLE][label] = over_seeds([m[TABLE][some[0].model] for m in found])
                metrics["closure"][label] = found[0]["closure"][some[0].model]
            else:
                metrics.setdefault(key, {})[label] = found[0]["known_ratio"][some[0].model]
    run.progress({"stage": "drawing"})
    draw(samples[TABLE], fits, run.folder)
    return metrics


def _config(one: RatioClassifier, truth: str | None = None) -> Reweighting:
    """Configure the reweighting of a classifier; all have the same test events."""
    return Reweighting((one,), observables="jet", calibrate=True, truth=truth)


def over_seeds(rows: list[dict[str, float]]) -> dict[str, float]:
    """Average each metric; give its best value and the spread of the AUC as well."""
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    best = {f"best_{key}": max(row[key] for row in rows) for key in BEST}
    areas = [row["auc"] for row in rows]
    spread = float(np.std(areas, ddof=1)) if len(areas) > 1 else 0.0
    return {**mean, **best, "auc_spread": spread}


def draw(pair: Pair, fits: dict[str, list[RatioClassifier]], out: Path) -> None:
    """Draw Figure 3: jets of the test events, also reweighted by the first seed of each model."""
    first = next(iter(fits.values()))[0]
    prepared = prepare_reweighting(*pair, _config(first))
    simulation, _ = prepared.part("test")
    weights = {}
    for label, some in fits.items():
        model = RatioModel.load(out / TABLE / label / "seed-0" / "model" / some[0].model)
        weights[label] = reweighted(simulation.weight, model.log_ratio(simulation))
    save_figure(draw_observables(prepared, weights), out / "figures" / "observables")


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


COMMANDS: dict[str, Any] = {"quick": quick, "paper": paper}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
