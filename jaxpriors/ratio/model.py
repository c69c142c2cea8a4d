"""A fitted likelihood ratio: its values for events, and the folder that holds it."""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxpriors.data.batching import Batch
from jaxpriors.data.checks import located
from jaxpriors.data.stored import Sample
from jaxpriors.errors import InputError
from jaxpriors.evaluation.likelihood_ratio import temperature
from jaxpriors.models.files import load_network, save_network
from jaxpriors.preprocessing.registry import InputsConfig, Preprocessing
from jaxpriors.ratio.finetuning import Origin
from jaxpriors.ratio.networks import (
    Classifier,
    Ensemble,
    ensemble_rows,
    from_networks,
    init_classifier,
    networks_of,
)
from jaxpriors.run.forms import checked, made
from jaxpriors.run.ranges import check_number, check_whole
from jaxpriors.run.storage import read_json, write_json
from jaxpriors.training.parallel import ROWS, default_micro_batch, map_rows, predict
from jaxpriors.training.step import Precision


@dataclass(frozen=True)
class RatioModel:
    """Hold a fitted likelihood ratio: the network and all that it needs to read events.

    lengths: padded lengths that programs are compiled for. origin: of weights that were fine-tuned.
    temperature: divisor of the logits (``calibrated``). The log ratio of an ensemble is the mean of
    the log ratios of its networks, so that its ratio is the geometric mean of their ratios.

    >>> import numpy as np
    >>> from jaxpriors import Events, RatioClassifier, RatioModel
    >>> from jaxpriors.preprocessing.columns import ColumnsConfig
    >>> x = np.linspace(-1, 1, 200)
    >>> simulation, data = Events.from_columns({"x": x}), Events.from_columns({"x": x + 0.5})
    >>> classifier = RatioClassifier("mlp", inputs=ColumnsConfig(("x",)))
    >>> classifier.fit(simulation, data).save("model")
    >>> model = RatioModel.load("model")
    >>> weights = model.reweight(simulation)  # larger where the data are
    >>> bool(weights[-1] > weights[0]), round(float(weights.sum()), 6)
    (True, 200.0)
    """

    preprocessing: Preprocessing
    lengths: tuple[int, ...]
    precision: Precision
    classifier: Classifier | Ensemble
    origin: Origin | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Raise InputError for lengths that do not rise and a temperature that is no divisor."""
        check_number("temperature", self.temperature, 0, open_at=(0,))
        for length, longer in itertools.pairwise((0, *self.lengths)):
            check_whole("lengths", longer, length)

    def log_ratio(self, events: Sample) -> np.ndarray:
        """Give log p_data / p_simulation of each event, (n,) float64.

        Raises InputError and FloatingPointError as ``log_ratios`` does.
        """
        return self.log_ratios(events).mean(0)

    def log_ratios(self, events: Sample) -> np.ndarray:
        """Give log p_data / p_simulation by each of k networks, (k, n) float64; a single has k = 1.

        Raises InputError where a column that the networks read is missing, FloatingPointError where
        a log ratio is not finite.
        """
        events = self.preprocessing.config.select(events)
        networks = self.classifier.size if isinstance(self.classifier, Ensemble) else 1
        forward = make_forward(self.preprocessing, self.precision, networks)
        logits = predict(forward, self.classifier, events, self.lengths)
        return logits.T / self.temperature

    def logits(self, batch: Batch) -> Array:
        """Give log p_data / p_simulation of the rows of a batch, (B,) float32; runs under jit."""
        each = member_logits(self.classifier, batch, None, self.preprocessing, self.precision)
        return each.mean(1) / self.temperature

    def calibrated(self, simulation: Sample, data: Sample) -> "RatioModel":
        """Set the temperature that fits these events best (`likelihood_ratio.temperature`).

        The training must not have seen the events. An ensemble has one temperature.
        """
        found = temperature(
            self.log_ratio(simulation), self.log_ratio(data), simulation.weight, data.weight
        )
        return dataclasses.replace(self, temperature=self.temperature * found)

    def reweight(self, simulation: Sample) -> np.ndarray:
        """Give weights (n,) float64 that turn simulation into data and keep the sum of its weights.

        They are weight × ratio, divided by the weighted mean ratio of these events.
        """
        return reweighted(simulation.weight, self.log_ratio(simulation))

    def save(self, folder: str | Path) -> None:
        """Write ``network.safetensors`` (as `models.files` does) and ``model.json``.

        The networks of an ensemble are ``network-0.safetensors`` and so on.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        networks = networks_of(self.classifier)
        numbers = [""] if len(networks) == 1 else [f"-{i}" for i in range(len(networks))]
        for n, network in zip(numbers, networks, strict=True):
            save_network(folder / f"network{n}.safetensors", network)
        content = {
            **self.preprocessing.to_json(),
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
        """Load the model that ``save`` wrote; raise InputError for other files."""
        folder, place = Path(folder), str(Path(folder) / "model.json")
        content = read_json(folder / "model.json")

        def value(name: str, form: Any, default: Any = None) -> Any:
            return checked(content.get(name, default), form, f"{place}: {name}")

        preprocessing = Preprocessing.from_json(content, place)
        precision = made(Precision, content.get("precision"), f"{place}: precision")
        lengths, count = value("lengths", tuple[int, ...]), value("networks", int, 1)
        scale = value("temperature", float, 1.0)
        origin = None
        if "origin" in content:
            origin = made(Origin, content["origin"], f"{place}: origin")
        if not lengths or min(lengths) < 0:
            raise InputError(f"{place}: lengths: found {lengths}, expected numbers of constituents")
        there = sum(1 for _ in folder.glob("network*.safetensors"))
        if not 1 <= count <= max(there, 1):
            raise InputError(
                f"{place}: networks: found {count}, expected the {there} in the folder"
            )
        numbers = [""] if count == 1 else [f"-{i}" for i in range(count)]
        networks = [load_network(folder / f"network{n}.safetensors") for n in numbers]
        try:
            classifier = from_networks(networks)
            _check_network(networks[0].config, preprocessing.config)
        except InputError as error:
            raise InputError(f"{folder}: {error}") from None
        with located(place):
            return cls(preprocessing, lengths, precision, classifier, origin, scale)


def _check_network(config: Any, inputs: InputsConfig) -> None:
    """Raise InputError for a network that is not one of these inputs."""
    start = partial(init_classifier, config=config, inputs=inputs)
    expected = jax.eval_shape(start, jax.random.key(0)).network.config
    for field in dataclasses.fields(config):
        found, wanted = getattr(config, field.name), getattr(expected, field.name)
        if found != wanted:
            raise InputError(
                f"found a network with {field.name} {found}, expected {wanted} for the "
                f"inputs in model.json ({inputs.KIND})"
            )


def reweighted(weight: np.ndarray, log_ratio: np.ndarray) -> np.ndarray:
    """Give weight × ratio, scaled to the sum of ``weight``, (n,) float64.

    Raises FloatingPointError where the weighted mean ratio overflows or is not positive.
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
    """Give the logits (B, k) float32 of k networks. ``key`` turns dropout on."""
    inputs: Any = precision.to_compute(preprocessing(batch))
    with precision.products():
        found = precision.to_compute(classifier)(inputs, key=key).astype("float32")
    return found.reshape(found.shape[0], -1)  # a single network gives (B,)


@lru_cache(maxsize=32)
def make_forward(
    preprocessing: Preprocessing, precision: Precision, networks: int = 1
) -> Callable[[Any, Batch], Array]:
    """Make f(classifier, batch): ``member_logits`` (B, k) of a classifier of ``networks``."""
    logits = partial(member_logits, key=None, preprocessing=preprocessing, precision=precision)
    most = default_micro_batch()
    if most is None and networks > 1:
        most = ROWS  # as many rows as a single network processes at once
    rows = ensemble_rows(most, networks)
    return map_rows(lambda classifier, batch: logits(classifier, batch), micro_batch=rows)
