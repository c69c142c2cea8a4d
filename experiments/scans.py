"""Scans of settings: one training of a row for each setting (arXiv:2603.08802, Appendix B).

    python -m experiments.scans run pythia21 herwig --study omnifold --row lgatr-1M \\
        --rate 1e-5 1e-4 --decay 0.2 --blocks 6 --seeds 0 1 2 --folder DIR --out RUN
    python -m experiments.scans run H1 --study dis --row lgatr-slim --part 3/9 --out runs/scan-3
    python -m experiments.scans merge runs/scan-* --out runs/scan

The point that is scanned around is the published one (`jaxpriors.ratio.published`); each other
point changes one setting, with --grid all of them at once. Which values the authors tried is not
known here: without any values of one's own, each setting is tried a step below and a step above
(`STEPS`). The classifier is that of the first step of an unfolding (omnifold), of the likelihood
ratio (dis), or of data against template (anomaly; the template is the first sample).

The table has for each point the mean validation loss of the seeds and their spread, by which the
best point is told, and the AUC on test events, which are the same for all. Points that differ in
rates, schedules and weight decay alone share one compiled program.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from experiments import rows, unfolding
from experiments.dis import by_label
from experiments.dry_run import EVENTS, short_fit
from jaxpriors.data.batching import UNITS, split
from jaxpriors.data.events import Events
from jaxpriors.data.formats.opening import read_sample
from jaxpriors.data.formats.splits import splits_in
from jaxpriors.data.inspection.official import PARTS, read_official
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import auc
from jaxpriors.ratio import published, settings
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.features import with_columns_seen
from jaxpriors.ratio.networks import networks_of
from jaxpriors.report.scans import format_scan
from jaxpriors.run.folder import Run, logged, started
from jaxpriors.run.launch import guarded
from jaxpriors.run.storage import read_json

Point = dict[str, float]  # setting → value, of those that are not the published
Pair = tuple[Events, Events]
TABLE = "scan"
SHARES = (0.6, 0.1, 0.3)  # of events to train, validate and test on, where they are not split
CONSTITUENTS = 30  # of jets of deep-inelastic scattering
# settings, those first that need another program; of the networks, their names there
NETWORK = {
    "blocks": ("num_blocks", "num_layers"),
    "channels": ("hidden_mv_channels", "hidden_v_channels", "hidden_channels"),
    "heads": ("num_heads",),
}
SETTINGS = (*NETWORK, "batch", "rate", "decay", "warmup", "final_rate")
# tried by default: factors on the published value; of warmup and final_rate the values themselves
STEPS: dict[str, tuple[float, ...]] = {
    "blocks": (0.5, 2),
    "channels": (0.5, 2),
    "batch": (0.5, 2),
    "rate": (1 / 3, 3),
    "decay": (0.5, 2),
    "warmup": (0,),
    "final_rate": (0,),
}


def run(
    simulation: str,
    data: str | None = None,
    /,
    *,
    study: Literal["omnifold", "dis", "anomaly"],
    row: str,
    out: Path,
    rate: tuple[float, ...] = (),
    batch: tuple[int, ...] = (),
    decay: tuple[float, ...] = (),
    warmup: tuple[float, ...] = (),
    final_rate: tuple[float, ...] = (),
    blocks: tuple[int, ...] = (),
    channels: tuple[int, ...] = (),
    heads: tuple[int, ...] = (),
    grid: bool = False,
    seeds: tuple[int, ...] = (0, 1),
    part: str | None = None,
    folder: Path | None = None,
    level: str | None = None,
    events: int | None = None,
    pretrained: Path | None = None,
    dry_run: bool = False,
    resume: bool = False,
) -> int:
    """Train at every point of a scan, and print its table.

    Args:
        simulation: sample of label 0: a file (for omnifold also pythia21, … of EnergyFlow, with
            --folder, or simulation of the package); without data, a file with labels 0 and 1, or a
            folder of train, val and test, which are then used as what they are.
        data: sample of label 1.
        study: omnifold, dis or anomaly.
        row: of the study's table, such as lgatr-1M (`jaxpriors.ratio.published.rows`).
        out: folder of the run; must not exist, unless --resume.
        rate: peaks of the learning rate.
        batch: events of an update, multiples of 16.
        decay: weight decays.
        warmup: epochs of warm-up.
        final_rate: learning rates at the end, as shares of the peak; 1 is a constant rate.
        blocks: numbers of blocks of the network.
        channels: numbers of its channels: multivectors of L-GATr and vectors of L-GATr-slim, whose
            scalars keep their share of these.
        heads: numbers of heads of the attention.
        grid: take all combinations of the values, not one at a time.
        seeds: of the trainings of each point.
        part: i/n trains the i-th of n shares of the points alone, one job of an array; merge joins
            them.
        folder: folder of EnergyFlow's files.
        level: particle or detector, where files hold both; omnifold: detector by default.
        events: number of each sample, the first ones; all by default.
        pretrained: OmniLearn's PET, for pet-finetuned.
        dry_run: take 500 events of each sample and one step of each training: no number means
            anything.
        resume: resume the run in the folder.
    """
    base = published.classifier(study, row, pretrained=pretrained)
    counted = settings.published(study, row).get("counted", 1.0)
    given = (blocks, channels, heads, batch, rate, decay, warmup, final_rate)
    asked = {n: values for n, values in zip(SETTINGS, given, strict=True) if values}
    points = scanned(base, asked or steps(base, counted), grid, counted)
    mine = shared(list(points), part)
    if not seeds or len({*seeds}) < len(seeds):
        raise InputError(f"seeds: found {seeds}, expected one or several different ones")
    fits = {
        label: {seed: changed(base, points[label], seed, counted) for seed in seeds}
        for label in mine
    }
    if dry_run:
        events = EVENTS
        fits = {n: {seed: short_fit(one) for seed, one in f.items()} for n, f in fits.items()}
    config = {
        rows.ROWS: rows.described(
            {n: {seed: dataclasses.asdict(one) for seed, one in f.items()} for n, f in fits.items()}
        ),
        TABLE: {"study": study, "row": row, "points": points, "published": values(base, counted)},
        "dry_run": dry_run,
    }
    with started(out, resume) as opened:
        opened.progress({"stage": "reading the samples"})
        parts = seen(read(study, simulation, data, folder, level, events), base)
        config["samples"] = {name: [e.digest() for e in pair] for name, pair in parts.items()}
        opened.open(config)

        def measured() -> dict[str, Any]:
            made = rows.measured(
                opened, fits, lambda label, seed, inner: trained(fits[label][seed], parts, inner)
            )
            return {rows.ROWS: made, **finished(opened, made)}

        metrics = opened.results(measured)
    print(format_scan(metrics[TABLE]))
    return 0


def merge(runs: tuple[Path, ...], /, out: Path, resume: bool = False) -> int:
    """Make one run, with its table, of the parts of a scan.

    Args:
        runs: folders of finished runs of one scan (--part).
        out: folder of the run; must not exist, unless --resume.
        resume: resume the run in the folder.
    """
    if not runs:
        raise InputError("runs: found none, expected the folders of runs to merge")
    found = read_json(runs[0] / "config.json").get(TABLE)
    if not isinstance(found, dict):
        raise InputError(f"{runs[0]}: found no scan, expected a run of experiments.scans")
    metrics = rows.merge(runs, out, finished, tuple(found["points"]), resume=resume)
    print(format_scan(metrics[TABLE]))
    return 0


def values(one: RatioClassifier, counted: float = 1.0) -> Point:
    """Give the settings of a classifier. counted: epochs of the schedule, in those of the training.

    >>> found = values(published.classifier("dis", "lgatr-slim"))
    >>> found["blocks"], found["channels"], found["batch"]
    (12, 32, 512)
    """
    rule, training = one.training.optimizer, one.training
    found = {name: getattr(one.network, _field(one, name), None) for name in NETWORK}
    found |= {"batch": training.batch_size, "rate": rule.learning_rate, "decay": rule.weight_decay}
    found |= {
        "warmup": round(rule.warmup * training.epochs / counted, 6),
        "final_rate": rule.final_rate,
    }
    return {name: value for name, value in found.items() if value is not None}


def steps(base: RatioClassifier, counted: float) -> dict[str, tuple[float, ...]]:
    """Give the values of `STEPS` around a classifier; of a fine-tuned one its training's alone."""
    at = values(base, counted)
    names = [n for n in STEPS if n in at and not (n in NETWORK and base.pretrained is not None)]
    found = {}
    for name in names:
        tried = STEPS[name]
        if name in NETWORK:
            tried = tuple(max(1, int(x * at[name])) for x in tried)
        elif name == "batch":
            tried = tuple(max(UNITS, int(x * at[name]) // UNITS * UNITS) for x in tried)
        elif name in ("rate", "decay"):
            tried = tuple(float(f"{x * at[name]:.3g}") for x in tried)
        found[name] = tried
    return found


def scanned(
    base: RatioClassifier, asked: Mapping[str, tuple[float, ...]], grid: bool, counted: float
) -> dict[str, Point]:
    """Give the points by name, the published one first where it is one; equal ones once.

    Raises InputError for a setting that the network lacks.
    """
    at = values(base, counted)
    if unknown := [name for name in asked if name not in at]:
        raise InputError(
            f"{unknown[0]}: found {asked[unknown[0]]} for {base.model}, expected values of any of "
            f"{', '.join(at)}"
        )
    if grid:
        some = [dict(zip(asked, each, strict=True)) for each in itertools.product(*asked.values())]
    else:
        some = [{}, *({name: value} for name, tried in asked.items() for value in tried)]
    found = {}
    for point in some:
        other = {name: value for name, value in point.items() if value != at[name]}
        label = ",".join(f"{name}={value:.12g}" for name, value in other.items())
        found[label or "published"] = other
    return found


def shared(labels: list[str], part: str | None) -> list[str]:
    """Give the points of one of n shares, "i/n" with i from 1; all for None.

    >>> shared(["a", "b", "c"], "2/2")
    ['c']
    """
    if part is None:
        return labels
    number, _, of = part.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= len(labels)):
        raise InputError(
            f"part: found {part!r}, expected i/n with i from 1 to n, n at most {len(labels)}, the "
            "number of points"
        )
    return list(np.array_split(np.array(labels), int(of))[int(number) - 1].tolist())


def changed(one: RatioClassifier, point: Point, seed: int, counted: float) -> RatioClassifier:
    """Change some settings of a classifier, and its seed."""
    network: Any = one.network
    sizes = {_field(one, name): point[name] for name in NETWORK if name in point}
    scalars = getattr(network, "hidden_s_channels", None)  # beside multivectors or vectors
    if "channels" in point and scalars is not None:
        share = scalars / getattr(network, _field(one, "channels"))
        sizes["hidden_s_channels"] = round(share * point["channels"])
    if sizes:
        network = dataclasses.replace(network, **sizes)
    old = one.training.optimizer
    optimizer = dataclasses.replace(
        old,
        learning_rate=point.get("rate", old.learning_rate),
        weight_decay=point.get("decay", old.weight_decay),
        final_rate=point.get("final_rate", old.final_rate),
        warmup=point["warmup"] * counted / one.training.epochs if "warmup" in point else old.warmup,
    )
    batch = int(point.get("batch", one.training.batch_size))
    training = dataclasses.replace(one.training, optimizer=optimizer, batch_size=batch, seed=seed)
    return dataclasses.replace(one, network=network, training=training)


def _field(one: RatioClassifier, name: str) -> str:
    """Name the field of a classifier's network that holds a size."""
    return next((field for field in NETWORK[name] if hasattr(one.network, field)), "")


def read(
    study: str,
    simulation: str,
    data: str | None,
    folder: Path | None,
    level: str | None,
    events: int | None,
) -> dict[str, Pair]:
    """Read both samples, split: {"train": (simulation, data), "validation": …, "test": …}.

    Raises InputError where both are not given and one file holds no labels 0 and 1.
    """

    def one(name: str) -> Events:
        if study == "omnifold":
            levels = unfolding.sample(name, folder, events)
            return levels.particle if level == "particle" else levels.detector
        return read_sample(Path(name), Reading(level))

    def kept(sample: Events) -> Events:
        sample = dataclasses.replace(sample, label=None)[:events]
        return sample.hardest(CONSTITUENTS) if study == "dis" else sample

    if data is None and splits_in(Path(simulation)):
        found = read_official(Path(simulation), level)
        pairs = {part: by_label(found[part], Path(simulation)) for part in PARTS}
        return {part: (kept(zero), kept(other)) for part, (zero, other) in pairs.items()}
    both = (
        by_label(one(simulation), Path(simulation))
        if data is None
        else (one(simulation), one(data))
    )
    zero, other = map(kept, both)
    shares = [split(len(sample), SHARES, 0) for sample in (zero, other)]
    indices = zip(PARTS, *shares, strict=True)
    return {part: (zero[first], other[second]) for part, first, second in indices}


def seen(parts: Mapping[str, Pair], one: RatioClassifier) -> dict[str, Pair]:
    """Give the samples the columns that networks see, where these are of jets alone (MultiFold)."""
    found = {}
    for part, (zero, other) in parts.items():
        both = with_columns_seen({"simulation": zero, "data": other}, [one])
        found[part] = both["simulation"], both["data"]
    return found


def trained(one: RatioClassifier, parts: Mapping[str, Pair], inner: Run) -> rows.Row:
    """Train at a point with a seed, and measure it on the test events."""
    lengths = np.concatenate([events.multiplicity for events in parts["train"]])
    one = one.with_micro_batch(lengths, inner.begun("training"), inner.progress)
    inner.open(dataclasses.asdict(one))

    def make() -> dict[str, Any]:
        model, done = one.train(
            *one.examples(*parts["train"], parts["validation"]),
            inner.folder / "checkpoints",
            logged(inner.folder / "log.jsonl", inner.progress),
        )
        best = min(done.history, key=lambda record: record["validation_loss"])
        ratios = [model.log_ratios(events).mean(0) for events in parts["test"]]
        labels = np.repeat([0, 1], [len(some) for some in ratios])
        weight = np.concatenate([events.weight for events in parts["test"]])
        area = auc(np.concatenate(ratios), labels, weight)
        network = networks_of(model.classifier)[0]
        return {
            "validation_loss": {TABLE: best["validation_loss"]},
            TABLE: {
                "validation_loss": best["validation_loss"],
                "best_epoch": best["epoch"],
                "epochs": len(done.history),
                "auc": area.value,
                "auc_error": area.error,
                "parameters": sum(x.size for x in jax.tree.leaves(network)),
                "seconds": sum(done.seconds.values()),
            },
        }

    return inner.results(make)


def finished(opened: Run, made: list[rows.Row]) -> dict[str, Any]:
    """Make the table of a scan."""
    return {TABLE: rows.over_seeds(made, TABLE)}


COMMANDS: dict[str, Any] = {"run": run, "merge": merge}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
