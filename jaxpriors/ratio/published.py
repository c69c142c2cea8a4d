"""The classifiers of arXiv:2603.08802: one of each row of its tables, as published.

`jaxpriors.ratio.settings` holds the published settings and their sources; ``docs/paper.md`` says
what still differs.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from jaxpriors.errors import InputError
from jaxpriors.preprocessing.clouds import DijetCloudConfig, PointCloudConfig
from jaxpriors.preprocessing.registry import InputsConfig
from jaxpriors.preprocessing.tokens import DijetConfig, InputConfig
from jaxpriors.ratio import settings
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.presets import find_model
from jaxpriors.ratio.settings import PUBLISHED, STUDIES, rows
from jaxpriors.training.loop import TrainingConfig

__all__ = ["PUBLISHED", "STUDIES", "classifier", "later", "rows"]


def classifier(
    study: str,
    label: str,
    *,
    seed: int = 0,
    pretrained: str | Path | None = None,
    features: Literal["full", "momenta"] = "full",
    networks: int | None = None,
    constituents: int | None = None,
) -> RatioClassifier:
    """Make the classifier of a row with the published network, inputs and training.

    Args:
        study: omnifold, dis or anomaly.
        label: one of ``rows(study)``.
        seed: of the split, the weights and the order of events.
        pretrained: OmniLearn's PET as `jaxpriors port omnilearn` wrote it, of pet-finetuned.
        features: all published inputs, or four-momenta and what follows from them alone.
        networks: number of networks that train as one program, each of which keeps its own best
            epoch; None for a single network.
        constituents: number of each jet of anomaly, the hardest; None for all. In the other studies
            the events are cut before (`Events.hardest`).

    Raises:
        InputError: an unknown study or row, pretrained weights that are missing or not asked for,
            options that the study or the row does not have.

    >>> found = classifier("omnifold", "lgatr-2M")
    >>> found.model, found.network.num_blocks, found.training.optimizer.learning_rate
    ('lgatr', 24, 3e-05)
    """
    found, model = settings.published(study, label), settings.MODEL_OF.get(label, label)
    if constituents is not None and study != "anomaly":
        raise InputError(
            f"constituents: found {constituents}, expected none for {study}: cut the events "
            "(`Events.hardest`)"
        )
    if features != "full" and (study == "anomaly" or label == "mlp"):
        raise InputError(f"features: found {features!r}, expected 'full' for {study}, {label}")
    network: Any = None
    if not find_model(model).pretrained:  # otherwise that of the weights
        network = settings.network(study, label)
        network = find_model(model).of_dijets(network) if study == "anomaly" else network
    return RatioClassifier(
        model,
        "paper",
        _inputs(study, label, found, features, constituents),
        network,
        dataclasses.replace(settings.training(study, label), seed=seed),
        validation=found.get("validation", 0.15),
        pretrained=pretrained,
        ensemble=networks,
        each_best=networks is not None,
        regression=found.get("regression", False),
    )


def _inputs(
    study: str,
    label: str,
    found: dict[str, Any],
    features: Literal["full", "momenta"],
    constituents: int | None,
) -> InputsConfig | None:
    """Configure the inputs of a row; None for those of its model."""
    if label == "mlp":
        return None
    seen: Any = features if features == "momenta" else found.get("features")
    if label in settings.PETS:
        if study == "anomaly":
            return DijetCloudConfig(found["normalisation"], constituents)
        return PointCloudConfig(found["normalisation"], seen)
    if study == "anomaly":
        return DijetConfig(constituents=constituents, jet_features=found["jet_features"])
    return InputConfig(seen)


def later(study: str, label: str) -> TrainingConfig:
    """Configure OmniFold's later iterations: a fixed rate for all parameters, of body and head.

    Raises InputError for another study than omnifold, and for an unknown row.
    """
    if study != "omnifold":
        raise InputError(f"study: found {study!r}, expected omnifold, which has iterations")
    settings.published(study, label)
    training = settings.training(study, label)
    rate, epochs = find_model(settings.MODEL_OF.get(label, label)).later["paper"]
    optimizer = dataclasses.replace(
        training.optimizer, learning_rate=rate, warmup=0.0, final_rate=1.0, body_factor=1.0
    )
    return dataclasses.replace(training, optimizer=optimizer, epochs=min(epochs, training.epochs))
