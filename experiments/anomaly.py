"""Anomaly detection in two-jet events (arXiv:2603.08802, Section 3.3, Figure 4).

    python -m experiments.anomaly quick --out runs/anomaly
    python -m experiments.anomaly paper --data rnd.h5 --template extended.h5 --out RUN
    python -m experiments.anomaly paper … --models pet --injected 500 --out runs/pet-500
    python -m experiments.anomaly merge runs/pet-* runs/lgatr-* --out runs/all

Networks learn without labels to separate data, which are background and a few injected signal
events, from a template of background only; then labelled events measure how well they find the
signal. In the idealised mode the template holds independent events of the same simulation.

``quick`` simulates two-jet events with Pythia and a parametric detector at the first call
(``jaxpriors data simulate lhco``; a surrogate for the R&D set of the LHC Olympics), keeps them, and
trains small networks on the hardest constituents of each jet, on two cores. ``paper`` takes files
that ``jaxpriors data convert --layout lhco --window 3300 3700`` made of the R&D set (Zenodo
4536377) and of its extended background (Zenodo 8370758), and the published networks and trainings
(`jaxpriors.ratio.published`), ten at once, for a GPU; its fine-tuned PET needs OmniLearn's own
weights (--pretrained). ``merge`` makes one run of models, injections and trainings that were run
apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from jaxpriors.anomaly.performance import Center
from jaxpriors.ratio.names import NetworkName
from jaxpriors.run.launch import guarded

if TYPE_CHECKING:
    from experiments.anomaly_samples import Samples
    from experiments.surrogates import Say
    from jaxpriors.ratio.classifier import RatioClassifier

MODELS: tuple[NetworkName, ...] = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
INJECTED = (0, 200, 400, 800)
SEEDS = (0, 1, 2, 3, 4)  # of quick
BACKGROUND, TEMPLATE, TEST, SIGNAL = 6_000, 12_000, 20_000, 10_000  # events of quick
POOL = 800  # signal to inject
SIDEBANDS = 20_000
EPOCHS = {"lgatr-slim": 12, "lgatr": 10, "pet": 12, "pet-finetuned": 6}  # of quick
PATIENCE = 3
SMALLER: dict[str, dict[str, int]] = {
    "lgatr": {"hidden_mv_channels": 4, "hidden_s_channels": 8},
    "lgatr-slim": {"hidden_v_channels": 6, "hidden_s_channels": 16, "num_blocks": 2},
    "pet": {"hidden_channels": 24, "num_layers": 2, "num_jet_layers": 2},
}  # options of the networks of quick, where they differ from size "small"

# OmniLearn's classify_lhco.py: 90 000 + 10 000 events of background in the data to train and to
# validate on, 320 000 + 35 555 in the template; its evaluate_classifiers_lhco.py: the injected
# signal, ten trainings, and cuts that more than 1e-4 of the background pass
PAPER_INJECTED = (500, 600, 700, 800, 900, 1000, 2000, 5000, 10_000)
PAPER_BACKGROUND, PAPER_TEMPLATE, PAPER_POOL = 100_000, 355_555, 10_000
PAPER_SEEDS = tuple(range(10))
PAPER_FLOOR = 1e-4


def quick(
    out: Path,
    models: tuple[NetworkName, ...] = MODELS,
    injected: tuple[int, ...] = INJECTED,
    seeds: tuple[int, ...] = SEEDS,
    pool: int = POOL,
    constituents: int = 8,
    nulls: int = 1,
    supervised: bool = True,
    min_background: float = 10,
    center: Center = "median",
    realistic: bool = False,
    resume: bool = False,
) -> int:
    """Run the scan with small networks on surrogates for the samples of the LHC Olympics.

    Args:
        out: folder of the run; must not exist, unless --resume.
        models: any of lgatr-slim, lgatr, pet, pet-finetuned.
        injected: numbers of signal events in the data, rising.
        seeds: of the trainings of each injection, consecutive numbers: all train at once.
        pool: number of signal events set apart to inject; the same in runs that are merged.
        constituents: number of each jet that networks see, the hardest.
        nulls: how many times all networks train with random labels.
        supervised: whether all networks also train on labelled signal.
        min_background: smallest number of test background events behind a cut; below 1, the share
            of them that must be exceeded.
        center: of the trainings, median or mean, in table and figure.
        realistic: take a template generated from the sidebands.
        resume: resume the run in the folder.
    """
    from experiments import anomaly_samples, anomaly_study
    from jaxpriors.generation.dijets import TemplateConfig
    from jaxpriors.preprocessing.clouds import DijetCloudConfig

    _check(models, injected, seeds, pool)
    sizes = {"background": BACKGROUND, "template": TEMPLATE, "test": TEST, "signal": SIGNAL}
    sizes |= {"pool": pool} | ({"sidebands": SIDEBANDS} if realistic else {})
    searches = tuple(_quick(model, len(seeds), constituents, seeds[0]) for model in models)
    generator = TemplateConfig(inputs=DijetCloudConfig(constituents=constituents))

    def make(say: Say) -> Samples:
        found = anomaly_samples.simulated(BACKGROUND, TEMPLATE, TEST, SIGNAL, pool, say)
        if not realistic:
            return found
        return anomaly_samples.realistic(found, SIDEBANDS, generator, out / "template", say)

    measure = anomaly_study.Measure(min_background, center)
    return anomaly_study.run_scan(
        make,
        anomaly_study.Scan(searches, injected, nulls, supervised, measure),
        out,
        resume,
        {"events": sizes, "realistic": realistic},
    )


def _quick(model: str, networks: int, constituents: int, seed: int) -> RatioClassifier:
    """Make the classifier of networks that are smaller than size "small"."""
    import dataclasses

    from jaxpriors.anomaly.training import SMALL, search_classifier
    from jaxpriors.ratio.presets import find_model, preset

    network: Any = None
    if not find_model(model).pretrained:
        network = find_model(model).of_dijets(preset(model, "small"))
        network = dataclasses.replace(network, **SMALLER[model])
    training = dataclasses.replace(
        SMALL, epochs=EPOCHS[model], patience=PATIENCE, micro_batch=8 * networks
    )
    return search_classifier(
        model, "small", networks, constituents, seed, training=training, network=network
    )


def paper(
    data: Path,
    template: Path,
    out: Path,
    models: tuple[NetworkName, ...] = (),
    injected: tuple[int, ...] = PAPER_INJECTED,
    seeds: tuple[int, ...] = PAPER_SEEDS,
    background: int = PAPER_BACKGROUND,
    template_events: int = PAPER_TEMPLATE,
    pool: int = PAPER_POOL,
    constituents: int | None = None,
    nulls: int = 0,
    supervised: bool = False,
    min_background: float = PAPER_FLOOR,
    center: Center = "median",
    region: tuple[float, float] = (3300, 3700),
    level: str | None = None,
    pretrained: Path | None = None,
    dry_run: bool = False,
    resume: bool = False,
) -> int:
    """Run the scan with the networks and trainings of the paper, on files.

    Args:
        data: file of labelled two-jet events, background 0 and signal 1.
        template: file of other background events.
        out: folder of the run; must not exist, unless --resume.
        models: any of lgatr-slim, lgatr, pet, pet-finetuned; by default all, the last one only
            where --pretrained is given.
        injected: numbers of signal events in the data, rising.
        seeds: of the trainings of each injection, consecutive numbers: all train at once.
        background: number of background events in the data; the others are for tests.
        template_events: number of events in the template; the others are for tests.
        pool: number of signal events set apart to inject; the same in runs that are merged.
        constituents: number of each jet that networks see, the hardest; all by default.
        nulls: how many times all networks train with random labels.
        supervised: whether all networks also train on labelled signal.
        min_background: smallest number of test background events behind a cut; below 1, the share
            of them that must be exceeded.
        center: of the trainings, median or mean, in table and figure.
        region: the signal region in m_jj (GeV); events outside are not used.
        level: particle or detector, where a file holds both.
        pretrained: a PET ported by `jaxpriors port omnilearn`, or the folder of a pretraining, for
            pet-finetuned.
        dry_run: take 500 events of background, signal and template, and one step of each training:
            all runs, no number means anything.
        resume: resume the run in the folder.
    """
    from experiments import anomaly_samples, anomaly_study
    from experiments.dry_run import EVENTS, short_fit
    from experiments.rows import asked_or_all
    from jaxpriors.ratio import published

    asked, notes = asked_or_all(models, MODELS, pretrained)
    _check(asked, injected, seeds, pool)
    sizes = anomaly_samples.Sizes(background, template_events, pool)
    few = EVENTS if dry_run else None

    def make(say: Say) -> Samples:
        say({"stage": "reading the samples"})
        return anomaly_samples.of_files(data, template, sizes, region, level, few)

    searches = tuple(
        published.classifier(
            "anomaly",
            model,
            seed=seeds[0],
            networks=len(seeds),
            constituents=constituents,
            pretrained=pretrained if model == "pet-finetuned" else None,
        )
        for model in asked
    )
    searches = tuple(map(short_fit, searches)) if dry_run else searches
    measure = anomaly_study.Measure(min_background, center)
    return anomaly_study.run_scan(
        make,
        anomaly_study.Scan(searches, injected, nulls, supervised, measure),
        out,
        resume,
        {
            "files": [str(data), str(template)],
            "background": background,
            "template_events": template_events,
            "pool": pool,
            "region": region,
            "level": level,
            "dry_run": dry_run,
        },
        notes,
    )


def _check(
    models: tuple[str, ...], injected: tuple[int, ...], seeds: tuple[int, ...], pool: int
) -> None:
    """Raise InputError for models, seeds and injections that make no scan."""
    from experiments.rows import check_asked
    from jaxpriors.errors import InputError

    check_asked(models, seeds, MODELS)
    if seeds != tuple(range(seeds[0], seeds[0] + len(seeds))):
        raise InputError(
            f"seeds: found {' '.join(map(str, seeds))}, expected consecutive numbers, as they "
            "train as one program"
        )
    if max(injected, default=0) > pool:
        raise InputError(
            f"injected: found {max(injected)}, expected at most the {pool} events set apart "
            "(--pool)"
        )


def merge(
    runs: tuple[Path, ...],
    /,
    out: Path,
    min_background: float | None = None,
    center: Center | None = None,
    resume: bool = False,
) -> int:
    """Make one run, with its table and Figure 4, of several finished ones, measured anew.

    Args:
        runs: folders of runs of ``paper``, or of ``quick``, on the same samples.
        out: folder of the run; must not exist, unless --resume.
        min_background: smallest number of test background events behind a cut; below 1, the share
            of them that must be exceeded. Default: that of the runs.
        center: of the trainings, median or mean, in table and figure. Default: that of the runs.
        resume: resume the run in the folder.
    """
    from experiments import anomaly_merge
    from experiments.dry_run import noted
    from jaxpriors.report.tables import tables
    from jaxpriors.run.storage import read_json

    metrics = anomaly_merge.merge(runs, out, resume, min_background, center)
    dry = read_json(out / "config.json")["sources"].get("dry_run", False)
    print(noted(tables(metrics), dry))
    print(f"\nscores, figures and metrics: {out}")
    return 0


COMMANDS: dict[str, Any] = {"quick": quick, "paper": paper, "merge": merge}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
