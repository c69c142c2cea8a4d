"""Anomaly detection in two-jet events (arXiv:2603.08802, Section 3.3, Figure 4).

    python -m experiments.anomaly quick --out runs/anomaly
    python -m experiments.anomaly paper --data rnd.h5 --template extended.h5 --out RUN

Networks learn without labels to separate data, which are background and a few injected signal
events, from a template of background only; then labelled events measure how well they find the
signal. In the idealised mode the template holds independent events of the same simulation.

``quick`` simulates two-jet events with Pythia and a parametric detector at the first call
(``jaxpriors data simulate lhco``; a surrogate for the R&D set of the LHC Olympics), keeps them, and
trains small networks on the hardest constituents of each jet, on two cores. ``paper`` takes files
that ``jaxpriors data convert --layout lhco --window 3300 3700`` made of the R&D set (Zenodo
4536377) and of its extended background (Zenodo 8370758), and trains the networks of Appendix B, ten
at once, with AdamW, on a GPU; its fine-tuned PET needs OmniLearn's own weights (--pretrained).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from jaxpriors.ratio.names import NetworkName
from jaxpriors.run.launch import guarded

if TYPE_CHECKING:
    from experiments.anomaly_study import Samples, Say
    from jaxpriors.ratio.classifier import RatioClassifier

MODELS: tuple[NetworkName, ...] = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
INJECTED = (0, 200, 400, 800)
BACKGROUND, TEMPLATE, TEST, SIGNAL = 6_000, 12_000, 20_000, 10_000  # events of quick
SIDEBANDS = 20_000
EPOCHS = {"lgatr-slim": 12, "lgatr": 10, "pet": 12, "pet-finetuned": 6}  # of quick
PATIENCE = 3
SMALLER: dict[str, dict[str, int]] = {
    "lgatr": {"hidden_mv_channels": 4, "hidden_s_channels": 8},
    "lgatr-slim": {"hidden_v_channels": 6, "hidden_s_channels": 16, "num_blocks": 2},
    "pet": {"hidden_channels": 24, "num_layers": 2, "num_jet_layers": 2},
}  # options of the networks of quick, where they differ from size "small"
PAPER_INJECTED = (0, 500, 600, 700, 800, 900, 1000, 2000, 5000, 10_000)
PAPER_BACKGROUND = 100_000  # events in the data of paper; the rest of the R&D set is for tests


def quick(
    out: Path,
    models: tuple[NetworkName, ...] = MODELS,
    injected: tuple[int, ...] = INJECTED,
    networks: int = 5,
    constituents: int = 8,
    nulls: int = 1,
    min_background: float = 10,
    realistic: bool = False,
    seed: int = 0,
    resume: bool = False,
) -> int:
    """Run the scan with small networks on surrogates for the samples of the LHC Olympics.

    Args:
        out: folder of the run; must not exist, unless --resume.
        models: any of lgatr-slim, lgatr, pet, pet-finetuned.
        injected: numbers of signal events in the data, rising.
        networks: trainings of each injection, all at once.
        constituents: number of each jet that networks see, the hardest.
        nulls: how many times all networks train with random labels.
        min_background: smallest number of test background events behind a cut.
        realistic: take a template generated from the sidebands.
        seed: seed of the initial weights and the order of events.
        resume: resume the run in the folder.
    """
    from experiments import anomaly_study
    from jaxpriors.generation.dijets import TemplateConfig
    from jaxpriors.preprocessing.clouds import DijetCloudConfig

    sizes = {"background": BACKGROUND, "template": TEMPLATE, "test": TEST, "signal": SIGNAL}
    sizes |= {"sidebands": SIDEBANDS} if realistic else {}
    searches = tuple(_quick(model, networks, constituents, seed) for model in models)
    generator = TemplateConfig(inputs=DijetCloudConfig(constituents=constituents))

    def make(most: int, say: Say) -> Samples:
        found = anomaly_study.simulated(BACKGROUND, TEMPLATE, TEST, SIGNAL, most, say)
        if not realistic:
            return found
        return anomaly_study.realistic(found, SIDEBANDS, generator, out / "template", say)

    return anomaly_study.run_scan(
        make,
        anomaly_study.Scan(searches, injected, nulls, min_background),
        out,
        resume,
        {"events": sizes, "realistic": realistic},
    )


def _quick(model: str, networks: int, constituents: int, seed: int) -> RatioClassifier:
    """Make the classifier of networks that are smaller than size "small"."""
    import dataclasses

    from jaxpriors.anomaly.training import TRAINING, search_classifier
    from jaxpriors.ratio.presets import find_model, preset

    network: Any = None
    if not find_model(model).pretrained:
        network = find_model(model).of_dijets(preset(model, "small"))
        network = dataclasses.replace(network, **SMALLER[model])
    training = dataclasses.replace(
        TRAINING["small"], epochs=EPOCHS[model], patience=PATIENCE, micro_batch=8 * networks
    )
    return search_classifier(
        model, "small", networks, constituents, seed, training=training, network=network
    )


def paper(
    data: Path,
    template: Path,
    out: Path,
    models: tuple[NetworkName, ...] = MODELS,
    injected: tuple[int, ...] = PAPER_INJECTED,
    background: int = PAPER_BACKGROUND,
    networks: int = 10,
    constituents: int | None = None,
    nulls: int = 2,
    min_background: float = 10,
    region: tuple[float, float] = (3300, 3700),
    level: str | None = None,
    pretrained: Path | None = None,
    seed: int = 0,
    resume: bool = False,
) -> int:
    """Run the scan with the networks and trainings of the paper, on files.

    Args:
        data: file of labelled two-jet events, background 0 and signal 1.
        template: file of other background events.
        out: folder of the run; must not exist, unless --resume.
        models: any of lgatr-slim, lgatr, pet, pet-finetuned.
        injected: numbers of signal events in the data, rising.
        background: number of background events in the data; the others are for tests.
        networks: trainings of each injection, all at once.
        constituents: number of each jet that networks see, the hardest; all by default.
        nulls: how many times all networks train with random labels.
        min_background: smallest number of test background events behind a cut.
        region: the signal region in m_jj (GeV); events outside are not used.
        level: particle or detector, where a file holds both.
        pretrained: a PET ported by `jaxpriors port omnilearn`, or the folder of a pretraining;
            without it no PET is fine-tuned, as the PET in this package is small.
        seed: seed of the initial weights and the order of events.
        resume: resume the run in the folder.
    """
    from experiments import anomaly_study
    from jaxpriors.anomaly.training import search_classifier
    from jaxpriors.ratio.presets import find_model

    def make(most: int, say: Say) -> Samples:
        say({"stage": "reading the samples"})
        return anomaly_study.of_files(data, template, background, most, region, level)

    starts = {m: pretrained if find_model(m).pretrained else None for m in models}
    searches = tuple(
        search_classifier(
            model, "paper", networks, constituents, seed,
            pretrained=start,
        )
        for model, start in starts.items()
        if start is not None or not find_model(model).pretrained
    )  # fmt: skip
    return anomaly_study.run_scan(
        make,
        anomaly_study.Scan(searches, injected, nulls, min_background),
        out,
        resume,
        {"files": [str(data), str(template)], "background": background, "region": region},
    )


COMMANDS: dict[str, Any] = {"quick": quick, "paper": paper}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
