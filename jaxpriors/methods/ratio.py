"""A fitted likelihood ratio: what it says of events, and the folder that holds it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array

from jaxpriors.data.batching import Batch
from jaxpriors.data.stored import Sample
from jaxpriors.errors import InputError
from jaxpriors.evaluation.calibration import temperature
from jaxpriors.methods import ensemble
from jaxpriors.methods.ensemble import Ensemble
from jaxpriors.methods.finetuning import Origin
from jaxpriors.models.classifiers import Classifier
from jaxpriors.porting.networks import load_network, save_network
from jaxpriors.preprocessing import (
    Preprocessing,
    preprocessing_from_json,
    preprocessing_to_json,
    seen,
)
from jaxpriors.training.parallel import chunk_rows, map_rows
from jaxpriors.training.precision import Precision
from jaxpriors.training.predict import ROWS, predict
from jaxpriors.training.runs import read_json, write_json


@dataclass(frozen=True)
class RatioModel:
    """A fitted likelihood ratio: the network and all that it needs to read events.

    lengths: padded lengths that programs are compiled for. origin: of weights that were fine-tuned.
    temperature: what the networks' logits are divided by (``calibrated``). The log ratio of an
    ensemble is the mean of its networks' log ratios: its ratio is the geometric mean of theirs.
    """

    preprocessing: Preprocessing
    lengths: tuple[int, ...]
    precision: Precision
    classifier: Classifier | Ensemble
    origin: Origin | None = None
    temperature: float = 1.0

    def log_ratio(self, events: Sample) -> np.ndarray:
        """log p_data / p_simulation of each event, (n,) float64.

        Raises FloatingPointError where it is not finite.
        """
        return self.log_ratios(events).mean(0)

    def log_ratios(self, events: Sample) -> np.ndarray:
        """log p_data / p_simulation by each of the k networks, (k, n) float64; k is 1 for a single.

        Raises InputError where a column that the networks read is missing, FloatingPointError where
        a number is not finite.
        """
        events = seen(self.preprocessing.config, events)
        networks = ensemble.size_of(self.classifier)
        forward = make_forward(self.preprocessing, self.precision, networks)
        logits = predict(forward, self.classifier, events, self.lengths, networks)
        return logits.T / self.temperature

    def logits(self, batch: Batch) -> Array:
        """log p_data / p_simulation of a batch's rows, (B,) float32; runs under jit."""
        each = member_logits(self.classifier, batch, None, self.preprocessing, self.precision)
        return each.mean(1) / self.temperature

    def calibrated(self, simulation: Sample, data: Sample) -> "RatioModel":
        """The model at the temperature that suits these events best (`evaluation.calibration`).

        They must be others than those it was trained on; an ensemble has one temperature.
        """
        found = temperature(
            self.log_ratio(simulation), self.log_ratio(data), simulation.weight, data.weight
        )
        return dataclasses.replace(self, temperature=self.temperature * found)

    def reweight(self, simulation: Sample) -> np.ndarray:
        """Weights (n,) float64 that turn simulation into data, keeping the sum of its weights.

        weight × ratio, the ratios divided by their weighted mean over these events.
        """
        return reweighted(simulation.weight, self.log_ratio(simulation))

    def save(self, folder: str | Path) -> None:
        """Write ``network.safetensors`` (as `porting.networks` does) and ``model.json``.

        An ensemble's networks are ``network-0.safetensors`` and so on.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        networks = ensemble.networks_of(self.classifier)
        for name, network in zip(_files(len(networks)), networks, strict=True):
            save_network(folder / name, network)
        content = {
            **preprocessing_to_json(self.preprocessing),
            "lengths": list(self.lengths),
            "precision": dataclasses.asdict(self.precision),
            "networks": len(networks),
            "temperature": self.temperature,
        }
        if self.origin is not None:
            content["origin"] = dataclasses.asdict(self.origin)
        write_json(folder / "model.json", content)

    @classmethod
    def load(cls, folder: str | Path) -> "RatioModel":
        """The model that ``save`` wrote; InputError where the files are not those."""
        folder = Path(folder)
        content = read_json(folder / "model.json")
        try:
            rest = (
                preprocessing_from_json(content),
                tuple(content["lengths"]),
                Precision(**content["precision"]),
            )
            origin = Origin.from_json(content["origin"]) if "origin" in content else None
            files = _files(content.get("networks", 1))
            scale = float(content.get("temperature", 1.0))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{folder / 'model.json'}: found {error!r}, expected what `save` writes"
            ) from None
        networks = [load_network(folder / name) for name in files]
        return cls(*rest, ensemble.around(networks), origin, scale)


def _files(networks: int) -> list[str]:
    """The names of a model's networks in its folder; ValueError for less than one."""
    if networks < 1:
        raise ValueError(f"{networks} networks")
    if networks == 1:
        return ["network.safetensors"]
    return [f"network-{i}.safetensors" for i in range(networks)]


def reweighted(weight: np.ndarray, log_ratio: np.ndarray) -> np.ndarray:
    """weight × ratio with the same sum as ``weight``; float64.

    The ratios are divided by their weighted mean. Raises FloatingPointError where that overflows
    or is not positive.
    """
    ratio = np.exp(log_ratio - log_ratio.max())
    mean = np.sum(weight * ratio) / np.sum(weight)
    result = weight * ratio / mean
    if not mean > 0 or not np.all(np.isfinite(result)):
        raise FloatingPointError(
            f"weights: the mean ratio is {mean:g} with log-ratios from {log_ratio.min():g} to "
            f"{log_ratio.max():g}; expected a positive mean and finite weights"
        )
    return result


def member_logits(
    classifier: Classifier | Ensemble,
    batch: Batch,
    key: Array | None,
    preprocessing: Preprocessing,
    precision: Precision,
) -> Array:
    """Logits (B, k) of the k networks, float32. ``key`` switches dropout on."""
    inputs: Any = precision.to_compute(preprocessing(batch))
    with precision.products():
        found = precision.to_compute(classifier)(inputs, key=key).astype("float32")
    return found if isinstance(classifier, Ensemble) else found[:, None]


@lru_cache(maxsize=32)
def make_forward(
    preprocessing: Preprocessing, precision: Precision, networks: int = 1
) -> Callable[[Any, Batch], Array]:
    """f(classifier, batch): ``member_logits`` (B, k) of a classifier of that many networks."""
    logits = partial(member_logits, key=None, preprocessing=preprocessing, precision=precision)
    most = chunk_rows()
    if most is None and networks > 1:
        most = ROWS  # what one network does at once
    chunk = ensemble.shared_out(most, networks)
    return map_rows(lambda classifier, batch: logits(classifier, batch), most=chunk)
