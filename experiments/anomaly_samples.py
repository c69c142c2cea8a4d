"""The samples of `experiments.anomaly`: simulated, of files, or with a generated template."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.surrogates import Say, surrogate
from jaxpriors.anomaly import training as anomaly
from jaxpriors.anomaly.template import TEMPLATE, make_template, split_region
from jaxpriors.data import dijets
from jaxpriors.data.batching import split
from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import read_events
from jaxpriors.data.simulation import lhco
from jaxpriors.errors import InputError
from jaxpriors.generation.dijets import TemplateConfig
from jaxpriors.generation.jets import SamplingConfig
from jaxpriors.run.folder import Run

LEVEL = "detector"
SEED = 31  # of the simulated samples


@dataclass(frozen=True)
class Sizes:
    """Hold numbers of events in the signal region.

    background: in the data. template: background in the template. pool: signal set apart to inject,
    the same for all injections that are compared.
    """

    background: int
    template: int
    pool: int


@dataclass(frozen=True)
class Samples:
    """Hold disjoint samples of two-jet events in the signal region.

    background, template: to train on; signal: to inject, from the first event on; reference: signal
    for the supervised trainings; test: labelled, background 0 and signal 1; simulated: background
    for the supervised trainings, where the template is a generated one.
    """

    background: Events
    template: Events
    signal: Events
    reference: Events
    test: Events
    simulated: Events | None = None

    @classmethod
    def of(
        cls,
        background: Events,
        template: Events,
        signal: Events,
        pool: int,
        test: float,
        more: Events | None = None,
    ) -> Samples:
        """Split the events: a share ``test`` of the background, and all of ``more``, is for tests.

        ``pool`` signal events are to inject, and half of the others are for tests. The same pool
        gives the same test events, whatever is injected.

        Raises InputError where no signal is left for the supervised reference or to test with.
        """
        least = max(2 * pool, pool + 2)
        if len(signal) < least:
            raise InputError(
                f"signal: found {len(signal)} events, expected at least {least}: those that are "
                "injected at most, and others to test with and for the supervised reference"
            )
        order = np.random.default_rng([0, len(signal)]).permutation(len(signal))
        to_inject, rest = signal[order[:pool]], signal[order[pool:]]
        for_test, for_reference = split(len(rest), (0.5, 0.5), 0)
        tested, taken = split(len(background), (test, 1 - test), 0)
        labelled = [background[tested].with_label(0), rest[for_test].with_label(1)]
        labelled += [] if more is None else [more.with_label(0)]
        return cls(
            background=background[taken],
            template=template,
            signal=to_inject,
            reference=rest[for_reference],
            test=Events.concatenate([p.with_columns(dijets.COLUMNS) for p in labelled]),
        )

    def by_name(self) -> dict[str, Events]:
        """Give the samples by name."""
        samples = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: events for name, events in samples.items() if events is not None}

    def digests(self) -> dict[str, str]:
        """Give the digests of the samples, for the record of a run."""
        return {name: events.digest() for name, events in self.by_name().items()}

    def data(self, injected: int) -> Events:
        """Give the background with ``injected`` signal events, or with all that there are."""
        both = self.background, self.signal[:injected]
        return Events.concatenate(
            [dataclasses.replace(p, label=None).with_columns(dijets.COLUMNS) for p in both]
        )


def simulated(
    background: int, template: int, test: int, signal: int, pool: int, say: Say
) -> Samples:
    """Give the surrogate samples at detector level; simulate them at the first call.

    background, template, test: numbers of background events in the data, in the template and for
    tests; signal: number of signal events besides the ``pool``, half of them for tests.
    """
    total = background + template + test
    qcd = read_events(surrogate("lhco", "background", total, SEED, say), LEVEL)
    found = read_events(surrogate("lhco", "signal", signal + pool, SEED, say), LEVEL)
    of_template, rest = qcd[:template], qcd[template:]
    return Samples.of(rest, of_template, found, pool, test / (background + test))


def of_files(
    data: Path,
    template: Path,
    sizes: Sizes,
    region: dijets.Window,
    level: str | None,
    most: int | None = None,
) -> Samples:
    """Read samples from a labelled and a background file, in the signal region (m_jj in GeV).

    Background events beyond those of the sizes, of both files, are for tests. most: for a dry run,
    take so many events of background, signal and template, and shares of them for the sizes.

    Raises InputError for files without labels, without events in the region or with too few
    background events, and for a template that shares events with the data.
    """
    found, independent = read_events(data, level), read_events(template, level)
    for name, events in ((str(data), found), (str(template), independent)):
        dijets.check(events, name)
    found = anomaly.in_region(found, str(data), region)
    independent = anomaly.in_region(independent, str(template), region)
    if found.label is None or set(np.unique(found.label)) != {0, 1}:
        have = None if found.label is None else np.unique(found.label).tolist()
        raise InputError(f"{data}: found labels {have}, expected 0 (background) and 1 (signal)")
    qcd, signal = found[found.label == 0], found[found.label == 1]
    shared = set(_jets(qcd)) & set(_jets(independent))
    if shared:
        raise InputError(
            f"{template}: {len(shared)} of its events are background events of {data}, with which "
            "the networks are tested; expected others"
        )
    if most is not None:
        qcd, independent, signal = qcd[:most], independent[:most], signal[:most]
        sizes = Sizes(len(qcd) // 2, len(independent) // 2, len(signal) // 4)
    if not 0 < sizes.background < len(qcd):
        raise InputError(
            f"background: found {sizes.background} events asked for of {len(qcd)} in {data}, "
            "expected fewer, as the others are to test with"
        )
    if not 0 < sizes.template <= len(independent):
        raise InputError(
            f"template_events: found {sizes.template} asked for of {len(independent)} in "
            f"{template}, expected at most as many, as those of the signal region are"
        )
    share = sizes.template / len(independent)
    taken, others = split(len(independent), (share, 1 - share), 0)
    test = 1 - sizes.background / len(qcd)
    more = independent[others] if len(others) else None
    return Samples.of(qcd, independent[taken], signal, sizes.pool, test, more)


def _jets(events: Events) -> list[tuple[float, ...]]:
    """Identify events by the momentum and directions of their jets."""
    names = [n for n in dijets.COLUMNS if n.endswith(("_pt", "_eta", "_phi"))]
    return list(zip(*(events.columns[name].tolist() for name in names), strict=True))


def realistic(
    samples: Samples, sidebands: int, config: TemplateConfig, folder: Path, say: Say
) -> Samples:
    """Replace the template by one generated from ``sidebands`` events.

    All jets are cut to the number of constituents that the generator makes.
    """
    outside = read_events(surrogate("lhco", "sidebands", sidebands, SEED, say), LEVEL)
    region = lhco.SIGNAL_REGION
    seed, number = config.training.seed, len(samples.template)
    outside, mass = split_region(outside, samples.background, region, number, seed)
    folder.mkdir(parents=True, exist_ok=True)
    sampling = SamplingConfig(seed=seed)
    Run(folder, True, say).results(
        lambda: make_template(outside, mass, config, sampling, folder, say)
    )
    made = read_events(folder / TEMPLATE)
    most = config.inputs.constituents
    assert most is not None
    cut = {name: dijets.leading(events, most) for name, events in samples.by_name().items()}
    return Samples(**cut | {"template": made, "simulated": cut["template"]})
