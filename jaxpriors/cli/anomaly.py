"""`jaxpriors anomaly` and `jaxpriors anomaly template`."""

from __future__ import annotations

from pathlib import Path

from jaxpriors.cli.options import In, NetworkOptions, RunOptions, SampleOptions
from jaxpriors.ratio.names import NetworkName, Size
from jaxpriors.training.options import TrainingOptions


def anomaly(
    data: Path,
    template: Path,
    /,
    run: In[RunOptions],
    model: NetworkName = "lgatr-slim",
    network: In[NetworkOptions] = NetworkOptions(),
    region: tuple[float, float] | None = (3300.0, 3700.0),
    test: Path | None = None,
    level: str | None = None,
    networks: int = 10,
    constituents: int | None = None,
    min_background: float = 10,
    training: In[TrainingOptions] = TrainingOptions(),
) -> int:
    """Search two-jet events for a signal without knowing it: data against a background template.

    Trains several networks at once to separate data from template in a region of the dijet mass,
    on each half of the samples, and scores the other half. Writes the scores of the data, the
    observed and expected events behind cuts, and the significance improvement of labelled events.

    Args:
        data: HDF5 file of two-jet events.
        template: HDF5 file of background events.
        run: folder of the run and its processes.
        model: the networks.
        network: size, start and precision of the networks.
        region: lowest and highest m_jj of the signal region in GeV; None for all events.
        test: HDF5 file of other events with labels, 0 for background and 1 for signal.
        level: particle or detector, where a file holds both.
        networks: number of networks that train at once.
        constituents: number of each jet that networks see, the hardest; all by default.
        min_background: smallest number of test background events behind a cut, for its
            significance improvement to count.
        training: options of the training.
    """
    from jaxpriors.anomaly.search import Search, run_search
    from jaxpriors.anomaly.training import search_classifier
    from jaxpriors.report.tables import tables
    from jaxpriors.run.folder import started

    classifier = search_classifier(
        model,
        network.size,
        networks,
        constituents,
        pretrained=network.pretrained_for((model,))[model],
    ).with_options(training, network.precision)
    config = Search(classifier, region, least=min_background)
    with started(run.out, run.resume) as opened:
        options = SampleOptions(level)
        samples = options.read(data, template)
        tested = None if test is None else options.read_one(test)
        asked = {"data": str(data), "template": str(template), "level": level}
        metrics = run_search(
            *samples,
            tested,
            config,
            opened,
            asked | {"test": None if test is None else str(test)},
        )
    print(tables(metrics))
    print(f"\nscores of the data, networks and metrics: {run.out}")
    return 0


def template(
    sidebands: Path,
    data: Path,
    /,
    run: In[RunOptions],
    size: Size = "small",
    region: tuple[float, float] = (3300.0, 3700.0),
    level: str | None = None,
    events: int | None = None,
    constituents: int | None = None,
    steps: int = 100,
    training: In[TrainingOptions] = TrainingOptions(),
) -> int:
    """Generate a background template for the signal region from events outside of it.

    Trains PET's generator of two-jet events, conditioned on m_jj, on the sidebands, and makes
    events with the values of m_jj that the data have in the signal region: template.h5.

    Args:
        sidebands: HDF5 file of two-jet events; those in the signal region are not used.
        data: HDF5 file of two-jet events, whose m_jj in the signal region is used.
        run: folder of the run and its processes.
        size: small (minutes on two cores) or paper (OmniLearn's, arXiv:2404.16091).
        region: lowest and highest m_jj of the signal region in GeV.
        level: particle or detector, where a file holds both.
        events: number to generate; default: as many as the data have in the signal region.
        constituents: number of each jet to generate, the hardest; all by default.
        steps: number of steps of the sampler, DPM-Solver++.
        training: options of the training; the seed is also that of the sampling.
    """
    from jaxpriors.anomaly.template import run_template
    from jaxpriors.generation import dijets
    from jaxpriors.generation.jets import SamplingConfig
    from jaxpriors.preprocessing.clouds import DijetCloudConfig
    from jaxpriors.report.tables import tables
    from jaxpriors.run.folder import started

    config = dijets.TemplateConfig(
        dijets.NETWORKS[size],
        DijetCloudConfig(constituents=constituents),
        dijets.TRAINING[size].with_options(training),
    )
    sampling = SamplingConfig(steps=steps, seed=training.seed)
    with started(run.out, run.resume) as opened:
        samples = SampleOptions(level).read(sidebands, data)
        asked = {"sidebands": str(sidebands), "data": str(data), "level": level}
        metrics = run_template(*samples, region, events, config, sampling, opened, asked)
    print(tables(metrics))
    print(f"\nevents, generator and metrics: {run.out}")
    return 0
