"""Anomaly detection in two-jet events (arXiv:2603.08802, Section 3.3, Figure 4).

    python -m experiments.anomaly quick --out runs/anomaly
    python -m experiments.anomaly paper --data rnd.h5 --template extended.h5 --out RUN

Networks learn without labels to tell data, which are background and a few injected signal events,
from a template of background alone; then labelled events tell how well they find the signal
(idealised mode: the template are independent events of the same simulation).

``quick`` makes two-jet events with Pythia and a parametric detector at the first call (``jaxpriors
data simulate lhco``; they stand in for the R&D set of the LHC Olympics), keeps them, and trains
small networks on the hardest constituents of each jet, on two cores. ``paper`` takes files that
``jaxpriors data convert --layout lhco --window 3300 3700`` made of the R&D set (Zenodo 4536377) and
of its extended background (Zenodo 8370758), and trains the networks of Appendix B, ten at once,
with AdamW, on a GPU; its fine-tuned PET needs OmniLearn's own weights (--pretrained).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from jaxpriors.cli import guarded
from jaxpriors.commands.reweight import Network

if TYPE_CHECKING:
    from experiments.anomaly_study import Samples, Say
    from jaxpriors.methods.classifier import RatioClassifier

MODELS: tuple[Network, ...] = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
INJECTED = (0, 200, 400, 800)
BACKGROUND, TEMPLATE, TEST, SIGNAL = 6_000, 12_000, 20_000, 10_000  # events of quick
SIDEBANDS = 20_000
EPOCHS = {"lgatr-slim": 12, "lgatr": 10, "pet": 12, "pet-finetuned": 6}  # of quick
PATIENCE = 3
PAPER_INJECTED = (0, 500, 600, 700, 800, 900, 1000, 2000, 5000, 10_000)
PAPER_BACKGROUND = 100_000  # of the data of paper; the rest of the R&D background is to test with


def quick(
    out: Path,
    models: tuple[Network, ...] = MODELS,
    injected: tuple[int, ...] = INJECTED,
    networks: int = 5,
    constituents: int = 8,
    nulls: int = 1,
    min_background: float = 10,
    realistic: bool = False,
    seed: int = 0,
    resume: bool = False,
) -> int:
    """The scan with small networks on stand-ins for the LHC Olympics' samples.

    Args:
        out: folder of the run; must not exist, unless --resume.
        models: any of lgatr-slim, lgatr, pet, pet-finetuned.
        injected: numbers of signal events in the data, rising.
        networks: trainings of each injection, all at once.
        constituents: the hardest of each jet that networks see.
        nulls: times the networks that are trained with labels drawn at random.
        min_background: test background events that a cut leaves at least.
        realistic: take a template that is generated from the sidebands.
        seed: of the first weights and the order of events.
        resume: go on with the run in the folder.
    """
    from experiments import anomaly_study
    from jaxpriors.dijet_inputs import DijetCloudConfig
    from jaxpriors.methods.dijet_generation import TemplateConfig

    sizes = {"background": BACKGROUND, "template": TEMPLATE, "test": TEST, "signal": SIGNAL}
    sizes |= {"sidebands": SIDEBANDS} if realistic else {}
    searches = tuple(_quick(model, networks, constituents, seed) for model in models)
    generator = TemplateConfig(inputs=DijetCloudConfig(constituents=constituents))

    def make(most: int, say: Say) -> Samples:
        found = anomaly_study.simulated(BACKGROUND, TEMPLATE, TEST, SIGNAL, most, say)
        if not realistic:
            return found
        return anomaly_study.realistic(found, SIDEBANDS, generator, out / "template", say)

    return anomaly_study.run(
        make,
        anomaly_study.Scan(searches, injected, nulls, min_background),
        out,
        resume,
        {"events": sizes, "realistic": realistic},
    )


def _quick(model: str, networks: int, constituents: int, seed: int) -> RatioClassifier:
    """Networks that are smaller still than size "small"."""
    import dataclasses

    from jaxpriors.methods.anomaly import TRAINING, search
    from jaxpriors.models.pet_twojet import two_jets
    from jaxpriors.models.presets import preset

    base: Any = None
    if model != "pet-finetuned":
        base = preset(model, "small")
    if model == "lgatr":
        base = dataclasses.replace(base, hidden_mv_channels=4, hidden_s_channels=8)
    if model == "lgatr-slim":
        base = dataclasses.replace(base, hidden_v_channels=6, hidden_s_channels=16, num_blocks=2)
    if model == "pet":
        base = dataclasses.replace(base, hidden_channels=24, num_layers=2)
        base = dataclasses.replace(two_jets(base), num_jet_layers=2)
    training = dataclasses.replace(
        TRAINING["small"], epochs=EPOCHS[model], patience=PATIENCE, micro_batch=8 * networks
    )
    return search(model, "small", networks, constituents, seed, training=training, network=base)


def paper(
    data: Path,
    template: Path,
    out: Path,
    models: tuple[Network, ...] = MODELS,
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
    """The scan with the networks and trainings of the paper, on files.

    Args:
        data: file of labelled two-jet events, background 0 and signal 1.
        template: file of other background events.
        out: folder of the run; must not exist, unless --resume.
        models: any of lgatr-slim, lgatr, pet, pet-finetuned.
        injected: numbers of signal events in the data, rising.
        background: events of the data; the others are to test with.
        networks: trainings of each injection, all at once.
        constituents: the hardest of each jet that networks see; all by default.
        nulls: times the networks that are trained with labels drawn at random.
        min_background: test background events that a cut leaves at least.
        region: the signal region in m_jj (GeV), of which events are taken.
        level: particle or detector, where a file holds both.
        pretrained: a PET ported by `jaxpriors port omnilearn`, or the folder of a pretraining;
            without it no PET is fine-tuned, as the one in this package is a small one.
        seed: of the first weights and the order of events.
        resume: go on with the run in the folder.
    """
    from experiments import anomaly_study
    from jaxpriors.methods.anomaly import search

    def make(most: int, say: Say) -> Samples:
        say({"stage": "reading the samples"})
        return anomaly_study.of_files(data, template, background, most, region, level)

    asked = [m for m in models if m != "pet-finetuned" or pretrained is not None]
    searches = tuple(
        search(
            model, "paper", networks, constituents, seed,
            pretrained=pretrained if model == "pet-finetuned" else None,
        )
        for model in asked
    )  # fmt: skip
    return anomaly_study.run(
        make,
        anomaly_study.Scan(searches, injected, nulls, min_background),
        out,
        resume,
        {"files": [str(data), str(template)], "background": background, "region": region},
    )


COMMANDS: dict[str, Any] = {"quick": quick, "paper": paper}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
