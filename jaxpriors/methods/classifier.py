"""Likelihood ratios by classification: fit, predict log-ratios, reweight.

A network that separates data (label 1) from simulation (label 0) by the weighted binary
cross-entropy, each class normalised to the same sum of weights, has the logit

    log p_data(x) / p_simulation(x),

the log of the ratio of the two normalised densities (arXiv:1911.09107, Eq. 2). Probabilities are
never formed or divided.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import optax
from jax import Array

from jaxpriors import kinematics
from jaxpriors.data.batching import Batch, TrainingBatches, plan_buckets
from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.features import PointCloudConfig
from jaxpriors.inputs import InputConfig
from jaxpriors.methods import finetuning
from jaxpriors.methods.ensemble import Ensemble, bootstrap_weights, shared_out, size_of, with_sums
from jaxpriors.methods.finetuning import Origin, Pretrained
from jaxpriors.methods.ratio import RatioModel, make_forward, member_logits
from jaxpriors.models.classifiers import Classifier, classifier_of, init_classifier, takes
from jaxpriors.models.lgatr_slim import LGATrSlimConfig
from jaxpriors.models.pet import PETConfig
from jaxpriors.models.presets import NetworkConfig, preset
from jaxpriors.numbers import NumbersConfig
from jaxpriors.preprocessing import (
    InputsConfig,
    Preprocessing,
    columns_of,
    fit_preprocessing,
)
from jaxpriors.training.checkpoints import digest
from jaxpriors.training.loop import Record, Trained, TrainingConfig, train
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.training.parallel import chunk_rows
from jaxpriors.training.precision import Precision
from jaxpriors.training.predict import predict
from jaxpriors.training.step import Loss

FINE_TUNED = "pet-finetuned"

# model, size → how it is trained; "paper": arXiv:2603.08802, Appendix B, and for PET the training
# of OmniLearn's unfolding (arXiv:2404.16091)
_SMALL = OptimizerConfig("adamw", 3e-3, 0.01, warmup=0.05, clip=1.0)
_PET = OptimizerConfig(
    "lion", 3e-5, 0.1, warmup=0.15, final_rate=0.01, betas=(0.95, 0.99), decay_all=True
)
_MLP = TrainingConfig(
    OptimizerConfig("adamw", 1e-3, 0.0, warmup=0.05),
    batch_size=1024,
    epochs=30,
    patience=5,
    micro_batch=1024,
    buckets=1,
)
TRAINING: dict[str, dict[str, TrainingConfig]] = {
    "lgatr": {
        "small": TrainingConfig(_SMALL, batch_size=256, epochs=5, buckets=2),
        "paper": TrainingConfig(OptimizerConfig("lion", 3e-5, 0.1), batch_size=512, epochs=20),
    },
    "lgatr-slim": {
        "small": TrainingConfig(_SMALL, batch_size=256, epochs=6, buckets=2),
        "paper": TrainingConfig(OptimizerConfig("lion", 2e-5, 0.1), batch_size=1024, epochs=20),
    },
    "pet": {
        "small": TrainingConfig(_SMALL, batch_size=256, epochs=6, buckets=2),
        "paper": TrainingConfig(_PET, batch_size=512, epochs=20, patience=3),
    },
    FINE_TUNED: {
        "small": TrainingConfig(
            dataclasses.replace(_SMALL, learning_rate=1e-3, warmup=0.1),
            batch_size=256,
            epochs=3,
            buckets=2,
        ),
        "paper": TrainingConfig(
            dataclasses.replace(_PET, body_factor=5.0), batch_size=512, epochs=20, patience=3
        ),
    },
    "mlp": {size: _MLP for size in ("small", "paper")},
}


_DEFAULT_INPUTS: dict[type[InputsConfig], InputsConfig] = {
    InputConfig: InputConfig(),
    PointCloudConfig: PointCloudConfig(),
    NumbersConfig: NumbersConfig(tuple(OBSERVABLES)),
}


@dataclass(frozen=True)
class RatioClassifier:
    """How a likelihood ratio is fitted; ``fit`` does it.

    model, size: a row of ``models.presets.PRESETS``; network, training: others than its own.
    inputs: an ``InputConfig`` for L-GATr, a ``PointCloudConfig`` for PET, a ``NumbersConfig`` with
    columns of the events for an MLP (MultiFold); None is its default, of an MLP the columns named
    as the observables (`evaluation.observables.with_observables` makes them).
    validation: share of the events that decide on the best epoch (where none are given).
    Model "pet-finetuned" is a PET that starts from ``pretrained``, a ported network or the folder
    of a pretraining (None: the weights in this package), which decides on its size.
    ensemble: how many networks are trained as one program, None for one by itself. All see the same
    batches; network i starts as one by itself does with ``training.seed`` + i. The best epoch is
    that with the least mean of their validation losses. A device works on ``training.micro_batch``
    events times networks at once. With ``bootstrap``, each network weighs the training events with
    Poisson numbers of its own, so that the networks' spread covers the statistics of the sample.
    """

    model: str = "lgatr-slim"
    size: Literal["small", "paper"] = "small"
    inputs: InputsConfig | None = None
    network: NetworkConfig | None = None
    training: TrainingConfig | None = None
    validation: float = 0.15
    pretrained: str | Path | Pretrained | None = None
    ensemble: int | None = None
    bootstrap: bool = False

    def resolved(self) -> "RatioClassifier":
        """The same with all that is None filled in.

        Raises InputError for an unknown model, inputs that it does not take, pretrained weights
        that are missing or no PET, and a bootstrap without an ensemble.
        """
        if self.model not in TRAINING:
            raise InputError(f"model: found {self.model!r}, expected one of {sorted(TRAINING)}")
        if self.ensemble is not None and self.ensemble < 1:
            raise InputError(f"ensemble: found {self.ensemble}, expected at least 1")
        if self.bootstrap and self.ensemble is None:
            raise InputError("bootstrap: found no ensemble, expected its number of networks")
        network, pretrained = self._network()
        kernel = getattr(network, "attention_implementation", "xla")
        if self.ensemble is not None and kernel != "xla":
            raise InputError(
                f"attention_implementation: found {kernel!r}, a kernel for one network at a time; "
                "expected 'xla' for an ensemble"
            )
        expected = takes(network)
        inputs = self.inputs
        if inputs is None and pretrained is not None:
            inputs = finetuning.inputs_config(pretrained)
        elif inputs is None:
            inputs = _DEFAULT_INPUTS[expected]
        if not isinstance(inputs, expected):
            raise InputError(
                f"inputs: found {type(inputs).__name__}, expected {expected.__name__} for "
                f"{self.model}"
            )
        bivector = isinstance(inputs, InputConfig) and inputs.beam == "xyplane"
        if isinstance(network, LGATrSlimConfig) and bivector:
            raise InputError(
                "beam: found 'xyplane', a bivector, which lgatr-slim has no channels for; expected "
                "lightlike, spacelike, timelike or none"
            )
        training = self.training or TRAINING[self.model][self.size]
        return dataclasses.replace(
            self, inputs=inputs, network=network, training=training, pretrained=pretrained
        )

    def _network(self) -> tuple[NetworkConfig, Pretrained | None]:
        """The configuration of the network, and the weights that it starts from."""
        if self.model != FINE_TUNED:
            if self.pretrained is not None:
                raise InputError(
                    f"pretrained: found {str(self.pretrained)!r}, expected none for {self.model}; "
                    f"only {FINE_TUNED} starts from pretrained weights"
                )
            try:
                return self.network or preset(self.model, self.size), None
            except ValueError as error:
                raise InputError(str(error)) from None
        pretrained = self.pretrained
        if not isinstance(pretrained, Pretrained):
            pretrained = finetuning.find(pretrained)
        network = finetuning.network_config(pretrained)
        if self.network not in (None, network):
            raise InputError(
                f"network: found {self.network}, expected that of the pretrained weights: {network}"
            )
        return network, pretrained

    def initial(self, key: Array) -> tuple[Classifier, Origin | None]:
        """One network before training, and where its weights are from if not from chance."""
        config = self.resolved()
        assert config.network is not None and config.inputs is not None
        if isinstance(config.pretrained, Pretrained):
            assert isinstance(config.network, PETConfig)
            network, origin = finetuning.start(config.pretrained, config.network, key)
            return classifier_of(network), origin
        return init_classifier(key, config.network, config.inputs), None

    def _seeds(self) -> list[int]:
        """Of each network, the one whose first weights it has."""
        assert self.training is not None
        return [self.training.seed + i for i in range(self.ensemble or 1)]

    def objective(
        self,
        trained_on: Events,
        weight: np.ndarray | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> tuple[TrainingBatches, Preprocessing, Loss]:
        """Batches of ``labelled`` events, the preprocessing that they are given, and the loss.

        weight (n, k): of each network, None for the events' own; preprocessing: None to fit one.
        """
        config = self.resolved()
        training = config.training
        assert training is not None and config.inputs is not None
        buckets = plan_buckets(trained_on.multiplicity, training.buckets)
        if weight is None and self.bootstrap:
            weight = bootstrap_weights(trained_on, config._seeds())
        batches = TrainingBatches(trained_on, buckets, training.batch_size, training.seed, weight)
        if preprocessing is None:
            preprocessing = fit_preprocessing(config.inputs, trained_on)
        return batches, preprocessing, _loss(preprocessing, training.precision)

    def fit(
        self,
        simulation: Events,
        data: Events,
        validation: tuple[Events, Events] | None = None,
        folder: str | Path | None = None,
        progress: Callable[[Record], None] = lambda record: None,
    ) -> RatioModel:
        """Fit on all of simulation and data, but for the events set apart for validation.

        validation: (simulation, data) to validate on; otherwise a share is split off at random.
        folder: where checkpoints go; a call with the folder of a killed one goes on with it.

        Raises:
            InputError: a sample without events, or whose weights do not sum to a positive number.
            TrainingError: a loss that is not finite.
        """
        if folder is None:
            with tempfile.TemporaryDirectory(prefix="jaxpriors-") as scratch:
                return self.fit(simulation, data, validation, Path(scratch), progress)
        return self.fit_with_history(simulation, data, validation, Path(folder), progress)[0]

    def fit_with_history(
        self,
        simulation: Events,
        data: Events,
        validation: tuple[Events, Events] | None,
        folder: Path,
        progress: Callable[[Record], None] = lambda record: None,
        weights: tuple[np.ndarray, np.ndarray] | None = None,
        start: RatioModel | None = None,
    ) -> tuple[RatioModel, Trained]:
        """As ``fit``; also the epochs' records and times.

        weights: those of simulation (n, k) and data (m, k) for each of the ensemble's k networks,
        in place of the events' own; the validation events are split off then. start: the model
        whose networks and preprocessing the training starts with.
        """
        config = self.resolved()
        assert config.training is not None and config.inputs is not None
        training, networks = config.training, self.ensemble or 1
        index = None
        if validation is None:
            index = [
                split(len(events), (1 - self.validation, self.validation), training.seed)
                for events in (simulation, data)
            ]
            validation = simulation[index[0][1]], data[index[1][1]]
            simulation, data = simulation[index[0][0]], data[index[1][0]]
        columns = columns_of(config.inputs)
        parts = [labelled(simulation, data, columns), labelled(*validation, columns)]
        each: list[np.ndarray | None] = [None, None]
        if weights is not None:
            if index is None or self.bootstrap:
                raise InputError("weights: expected no validation sample and no bootstrap")
            if any(w.shape[1:] != (networks,) for w in weights):
                found = [w.shape for w in weights]
                raise InputError(f"weights: found {found}, expected (n, {networks}) for each")
            each = [_class_weights(weights, (a, b)) for a, b in zip(*index, strict=True)]
        trained_on, validated_on = parts

        known = None if start is None else start.preprocessing
        batches, preprocessing, loss = config.objective(trained_on, each[0], known)
        lengths = batches.buckets.lengths
        forward = make_forward(preprocessing, training.precision, networks)

        def validation_loss(classifier: Classifier | Ensemble) -> float:
            logits = predict(forward, classifier, validated_on, lengths, networks)
            return weighted_cross_entropy(logits, validated_on, each[1])

        classifier, origin = config._start(start)
        if origin is not None and start is None:
            progress({"stage": f"  {origin}"})
        identity = f"{config!r} on {trained_on.digest()}, {validated_on.digest()}"
        if weights is not None or start is not None:
            identity += f", with {digest((each, start and start.classifier))}"
        most = training.micro_batch or chunk_rows()
        if most is None and networks > 1:  # what one network would do at once
            most = training.batch_size
        chunk = shared_out(most, networks)
        trained = train(
            classifier,
            loss,
            batches,
            validation_loss,
            dataclasses.replace(training, micro_batch=chunk),
            folder,
            progress,
            identity,
            stacked=self.ensemble is not None,
        )
        model = RatioModel(
            preprocessing=preprocessing,
            lengths=lengths,
            precision=training.precision,
            classifier=trained.params,
            origin=origin,
        )
        return model, trained

    def _start(self, model: RatioModel | None) -> tuple[Classifier | Ensemble, Origin | None]:
        """The networks before training, which are the model's where there is one."""
        if model is not None:
            expected, found = self.ensemble or 1, size_of(model.classifier)
            if found != expected:
                raise InputError(f"start: found {found} networks, expected {expected}")
            if self.ensemble == 1 and not isinstance(model.classifier, Ensemble):
                return Ensemble.of([model.classifier]), model.origin
            return model.classifier, model.origin
        starts = [self.initial(jax.random.key(seed)) for seed in self._seeds()]
        classifier, origin = starts[0]
        if self.ensemble is None:
            return classifier, origin
        return Ensemble.of([start for start, _ in starts]), origin


def split(n: int, fractions: tuple[float, ...], seed: int) -> list[np.ndarray]:
    """Random, disjoint, sorted numbers of events. InputError unless the fractions sum to 1."""
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise InputError(f"fractions: found {fractions}, expected shares that sum to 1")
    order = np.random.default_rng([seed, n]).permutation(n)
    edges = np.round(np.cumsum((0.0, *fractions)) * n).astype(int)
    return [np.sort(order[a:b]) for a, b in pairwise(edges)]


def labelled(simulation: Events, data: Events, columns: tuple[str, ...] = ()) -> Events:
    """One sample with labels 0 and 1, each class's weights summing to half the events.

    Of the samples' columns it has those named.

    Raises InputError for a class without events or without a positive sum of weights, for momenta
    without direction in the transverse plane, for a column that is missing, and where one class
    alone has identities: a network would tell the classes apart by that.
    """
    half = (len(simulation) + len(data)) / 2
    parts = []
    for name, label, events in (("simulation", 0, simulation), ("data", 1, data)):
        total = float(np.sum(events.weight))
        if len(events) == 0 or not total > 0:
            raise InputError(
                f"{name}: {len(events)} events with weights that sum to {total:g}; expected at "
                "least one event and a positive sum"
            )
        for what, p4 in (("constituents", events.p4), ("jets", events.jet_p4)):
            bad = int(np.sum((kinematics.pt(p4) <= 0) | (p4[:, 0] <= 0)))
            if bad:
                raise InputError(f"{name}: found {bad} {what} with pT or E of 0, expected none")
        parts.append(events.with_weight(events.weight * (half / total)).with_label(label))
    if simulation.pid.any() != data.pid.any():
        without = "data" if simulation.pid.any() else "simulation"
        raise InputError(
            f"pid: the {without} have none and the other sample has; expected identities in both "
            "samples or in none"
        )
    return Events.concatenate([part.with_columns(columns) for part in parts])


def _class_weights(
    weights: tuple[np.ndarray, np.ndarray], index: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """The chosen events' weights (n, k), scaled as ``labelled`` does it, for each network."""
    chosen = [w[i] for w, i in zip(weights, index, strict=True)]
    label = np.repeat([0, 1], [len(w) for w in chosen])
    return with_sums(np.concatenate(chosen), label, [len(label) / 2] * 2)


def weighted_cross_entropy(
    logits: np.ndarray, events: Events, weight: np.ndarray | None = None
) -> float:
    """Mean over events (n,) and networks of weight × binary cross-entropy of logits (n, k).

    weight (n, k): of each network, None for the events' own.
    """
    assert events.label is not None
    weight = events.weight[:, None] if weight is None else weight
    sign = np.where(events.label == 1, -1.0, 1.0)
    entropy = np.logaddexp(0.0, sign[:, None] * logits)
    return float(np.mean(np.sum(weight * entropy, axis=0)) / len(events))


@lru_cache(maxsize=32)
def _loss(preprocessing: Preprocessing, precision: Precision) -> Loss:
    def loss(classifier: Classifier | Ensemble, batch: Batch, key: Array) -> Array:
        """The mean over the networks."""
        logits = member_logits(classifier, batch, key, preprocessing, precision)
        entropy = optax.sigmoid_binary_cross_entropy(logits, batch.label[:, None])
        weight = batch.weight.reshape(len(entropy), -1)  # (B, k), or (B, 1) for all alike
        return (weight * entropy).mean(1).sum()

    return loss
