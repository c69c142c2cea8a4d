"""`jaxpriors anomaly`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jaxpriors.commands.reweight import Compute, Network


def anomaly(
    data: Path,
    template: Path,
    /,
    out: Path,
    model: Network = "lgatr-slim",
    size: Literal["small", "paper"] = "small",
    region: tuple[float, float] | None = (3300.0, 3700.0),
    test: Path | None = None,
    level: str | None = None,
    networks: int = 10,
    constituents: int | None = None,
    min_background: float = 10,
    pretrained: Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    learning_rate: float | None = None,
    precision: Compute = "float32",
    seed: int = 0,
    resume: bool = False,
) -> int:
    """Search two-jet events for a signal without knowing it: data against a background template.

    Trains several networks at once to tell data from template in a region of the dijet mass, on
    each half of the samples, to score the other; writes the scores of the data, how many of them
    are behind cuts and how many are expected, and the significance improvement of labelled events.

    Args:
        data: HDF5 file of two-jet events.
        template: HDF5 file of background events.
        out: folder of the run; must not exist, unless --resume.
        model: the networks.
        size: small (minutes on two cores) or paper (arXiv:2603.08802).
        region: lowest and highest m_jj of the signal region in GeV; None for all events.
        test: HDF5 file of other events with labels, 0 for background and 1 for signal.
        level: particle or detector, where a file holds both.
        networks: how many are trained at once.
        constituents: the hardest of each jet that networks see; all by default.
        min_background: test background events that a cut leaves at least, for its significance
            improvement to count.
        pretrained: of pet-finetuned: a PET ported by `jaxpriors port omnilearn`, or the folder of
            a pretraining; otherwise the weights in this package.
        epochs: other than the size's own.
        batch_size: other than the size's own.
        micro_batch: events that a device works on at once, over which it accumulates the gradient
            of a batch; otherwise 8 on CPUs and all on GPUs.
        learning_rate: other than the size's own.
        precision: in which the networks compute.
        seed: of the split for validation, the weights and the order of events.
        resume: go on with the run in the folder.
    """
    from jaxpriors.commands.progress import Display
    from jaxpriors.commands.report import tables
    from jaxpriors.commands.reweight import read_samples
    from jaxpriors.commands.setup import use_all_cores, use_compilation_cache
    from jaxpriors.data.files import levels
    from jaxpriors.data.sample_files import read_events
    from jaxpriors.errors import InputError
    from jaxpriors.methods.anomaly import TRAINING, search
    from jaxpriors.methods.anomaly_search import Search, resolved, run
    from jaxpriors.methods.trainings import FINE_TUNED
    from jaxpriors.training.loop import with_numbers
    from jaxpriors.training.runs import exists, open_run, read_json

    if pretrained is not None and model != FINE_TUNED:
        raise InputError(f"pretrained: found {pretrained} for {model}, expected {FINE_TUNED!r}")
    training = with_numbers(
        TRAINING[size],
        seed,
        epochs=epochs,
        batch_size=batch_size,
        micro_batch=micro_batch,
        learning_rate=learning_rate,
        precision=precision,
    )
    classifier = search(
        model, size, networks, constituents, seed, training=training, pretrained=pretrained
    )
    config = Search(classifier, region, least=min_background)
    use_all_cores()
    use_compilation_cache()
    samples = read_samples(data, template, level, None, None)
    tested = None
    if test is not None:
        tested = read_events(test, level if levels(test) else None)
    with Display() as display:
        prepared = config.prepare(*samples, tested)
        asked: dict[str, Any] = {"data": str(data), "template": str(template), "level": level}
        asked |= {"test": None if test is None else str(test)}
        open_run(out, {**resolved(config), "sources": asked | prepared.digests()}, resume)
        if not exists(out / "metrics.json"):
            run(prepared, config, out, display)
    print(tables(read_json(out / "metrics.json")))
    print(f"\nscores of the data, networks and metrics: {out}")
    return 0


def template(
    sidebands: Path,
    data: Path,
    /,
    out: Path,
    size: Literal["small", "paper"] = "small",
    region: tuple[float, float] = (3300.0, 3700.0),
    level: str | None = None,
    events: int | None = None,
    constituents: int | None = None,
    steps: int = 100,
    epochs: int | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    resume: bool = False,
) -> int:
    """Generate a background template for the signal region from events outside of it.

    Trains PET's generator of two-jet events, conditioned on m_jj, on the sidebands, and makes
    events with the values of m_jj that the data have in the signal region: template.h5.

    Args:
        sidebands: HDF5 file of two-jet events; those in the signal region are left out.
        data: HDF5 file of two-jet events, of which only m_jj in the signal region is used.
        out: folder of the run; must not exist, unless --resume.
        size: small (minutes on two cores) or paper (OmniLearn's, arXiv:2404.16091).
        region: lowest and highest m_jj of the signal region in GeV.
        level: particle or detector, where a file holds both.
        events: to generate; default: as many as the data have in the signal region.
        constituents: of each jet, the hardest are generated alone; all by default.
        steps: of the sampler, DPM-Solver++.
        epochs: other than the size's own.
        batch_size: other than the size's own.
        micro_batch: events that a device works on at once, over which it accumulates the gradient
            of a batch; otherwise 8 on CPUs and all on GPUs.
        learning_rate: other than the size's own.
        seed: of the weights, the order of events and the samples.
        resume: go on with the run in the folder.
    """
    import dataclasses

    from jaxpriors.commands.progress import Display
    from jaxpriors.commands.report import tables
    from jaxpriors.commands.reweight import read_samples
    from jaxpriors.commands.setup import use_all_cores, use_compilation_cache
    from jaxpriors.dijet_inputs import DijetCloudConfig
    from jaxpriors.methods import background_template
    from jaxpriors.methods import dijet_generation as generation
    from jaxpriors.methods.generation import SamplingConfig
    from jaxpriors.training.loop import with_numbers
    from jaxpriors.training.runs import exists, open_run, read_json

    training = with_numbers(
        generation.TRAINING[size],
        seed,
        epochs=epochs,
        batch_size=batch_size,
        micro_batch=micro_batch,
        learning_rate=learning_rate,
    )
    inputs = DijetCloudConfig(constituents=constituents)
    config = generation.TemplateConfig(generation.NETWORKS[size], inputs, training)
    sampling = SamplingConfig(steps=steps, seed=seed)
    use_all_cores()
    use_compilation_cache()
    around, measured = read_samples(sidebands, data, level, None, None)
    around, mass = background_template.split_region(around, measured, region, events, seed)
    asked = {
        "sidebands": str(sidebands),
        "data": str(data),
        "level": level,
        "region": region,
        "digests": [around.digest(), measured.digest()],
    }
    with Display() as display:
        settings = {
            "template": dataclasses.asdict(config),
            "sampling": dataclasses.asdict(sampling),
        }
        open_run(out, {**settings, "events": events, "sources": asked}, resume)
        if not exists(out / "metrics.json"):
            background_template.make_template(around, mass, config, sampling, out, display)
    print(tables(read_json(out / "metrics.json")))
    print(f"\nevents, generator and metrics: {out}")
    return 0
