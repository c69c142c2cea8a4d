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
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jax import Array

from jaxpriors import processes
from jaxpriors.data.batching import TrainingBatches, plan_buckets
from jaxpriors.data.splitting import split
from jaxpriors.data.stored import Sample
from jaxpriors.dijet_inputs import DijetCloudConfig
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.features import PointCloudConfig
from jaxpriors.inputs import InputConfig
from jaxpriors.methods import finetuning
from jaxpriors.methods.ensemble import Ensemble, bootstrap_weights, shared_out, size_of
from jaxpriors.methods.finetuning import Origin, Pretrained
from jaxpriors.methods.labels import Labelled, labelled, make_loss, weighted_cross_entropy
from jaxpriors.methods.ratio import RatioModel, make_forward
from jaxpriors.methods.trainings import FINE_TUNED, TRAINING
from jaxpriors.models.classifiers import Classifier, classifier_of, init_classifier, takes
from jaxpriors.models.lgatr_slim import LGATrSlimConfig
from jaxpriors.models.pet import PETConfig
from jaxpriors.models.pet_twojet import two_jets
from jaxpriors.models.presets import NetworkConfig, preset
from jaxpriors.numbers import NumbersConfig
from jaxpriors.preprocessing import (
    InputsConfig,
    Preprocessing,
    columns_of,
    fit_preprocessing,
    seen,
)
from jaxpriors.training.checkpoints import digest
from jaxpriors.training.loop import Record, Trained, TrainingConfig, train
from jaxpriors.training.parallel import chunk_rows
from jaxpriors.training.predict import predict
from jaxpriors.training.step import Loss

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
    as the observables (`evaluation.observables.with_observables` makes them). For events of two
    jets it is a ``DijetConfig`` for L-GATr, a ``DijetCloudConfig`` for PET.
    validation: share of the events that decide on the best epoch (where none are given).
    Model "pet-finetuned" is a PET that starts from ``pretrained``, a ported network or the folder
    of a pretraining (None: the weights in this package), which decides on its size.
    ensemble: how many networks are trained as one program, None for one by itself. All see the same
    batches; network i starts as one by itself does with ``training.seed`` + i. The best epoch is
    that with the least mean of their validation losses, or with ``each_best`` each network's own. A
    device works on ``training.micro_batch``
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
    each_best: bool = False

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
        if self.each_best and self.ensemble is None:
            raise InputError("each_best: found no ensemble, expected its number of networks")
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
            inputs = _DEFAULT_INPUTS[expected[0]]
        if not isinstance(inputs, expected):
            raise InputError(
                f"inputs: found {type(inputs).__name__}, expected "
                f"{' or '.join(kind.__name__ for kind in expected)} for {self.model}"
            )
        bivector = getattr(inputs, "beam", None) == "xyplane"
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
                network = self.network or preset(self.model, self.size)
            except ValueError as error:
                raise InputError(str(error)) from None
            return self._of_two_jets(network), None
        pretrained = self.pretrained
        if not isinstance(pretrained, Pretrained):
            pretrained = finetuning.find(pretrained)
        network = self._of_two_jets(finetuning.network_config(pretrained))
        if self.network not in (None, network):
            raise InputError(
                f"network: found {self.network}, expected that of the pretrained weights: {network}"
            )
        return network, pretrained

    def _of_two_jets(self, network: NetworkConfig) -> NetworkConfig:
        """That configuration, of a PET with inputs of two jets as one for two jets."""
        if isinstance(self.inputs, DijetCloudConfig) and isinstance(network, PETConfig):
            return two_jets(network)
        return network

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
        self, trained_on: Labelled, preprocessing: Preprocessing | None = None
    ) -> tuple[TrainingBatches, Preprocessing, Loss]:
        """Batches of labelled events, the preprocessing that they are given, and the loss.

        preprocessing: None to fit one to the events.
        """
        config = self.resolved()
        training, events = config.training, trained_on.events
        assert training is not None and config.inputs is not None
        buckets = plan_buckets(events.multiplicity, training.buckets)
        weight = trained_on.weight
        if weight is None and self.bootstrap:
            weight = bootstrap_weights(events, config._seeds())
        batches = TrainingBatches(
            events, buckets, training.batch_size, training.seed, weight, trained_on.label
        )
        if preprocessing is None:
            preprocessing = fit_preprocessing(config.inputs, events)
        return batches, preprocessing, make_loss(preprocessing, training.precision)

    def fit(
        self,
        simulation: Sample,
        data: Sample,
        validation: tuple[Sample, Sample] | None = None,
        folder: str | Path | None = None,
        progress: Callable[[Record], None] = lambda record: None,
    ) -> RatioModel:
        """Fit on all of simulation and data, but for the events set apart for validation.

        Samples that are on disk (`data.prepared.open_prepared`) stay there.
        validation: (simulation, data) to validate on; otherwise a share is split off at random.
        folder: where checkpoints go; a call with the folder of a killed one goes on with it.

        Raises:
            InputError: a sample without events, or whose weights do not sum to a positive number.
            TrainingError: a loss that is not finite.
        """
        if folder is None:
            if processes.count() > 1:
                raise InputError(
                    f"folder: found none, expected one that all {processes.count()} processes see"
                )
            with tempfile.TemporaryDirectory(prefix="jaxpriors-") as scratch:
                return self.fit(simulation, data, validation, Path(scratch), progress)
        return self.fit_with_history(simulation, data, validation, Path(folder), progress)[0]

    def fit_with_history(
        self,
        simulation: Sample,
        data: Sample,
        validation: tuple[Sample, Sample] | None,
        folder: Path,
        progress: Callable[[Record], None] = lambda record: None,
    ) -> tuple[RatioModel, Trained]:
        """As ``fit``; also the epochs' records and times."""
        config = self.resolved()
        assert config.training is not None and config.inputs is not None
        if validation is None:
            shares, seed = (1 - self.validation, self.validation), config.training.seed
            index = [split(len(events), shares, seed) for events in (simulation, data)]
            validation = simulation[index[0][1]], data[index[1][1]]
            simulation, data = simulation[index[0][0]], data[index[1][0]]
        parts = []
        for pair in ((simulation, data), validation):
            shown = [seen(config.inputs, events) for events in pair]
            both = labelled(shown[0], shown[1], columns_of(config.inputs))
            parts.append(Labelled(both))
        return self.fit_labelled(parts[0], parts[1], folder, progress)

    def fit_labelled(
        self,
        trained_on: Labelled,
        validated_on: Labelled,
        folder: Path,
        progress: Callable[[Record], None] = lambda record: None,
        start: RatioModel | None = None,
    ) -> tuple[RatioModel, Trained]:
        """As ``fit_with_history``, on events that have their labels and weights (`methods.labels`).

        start: the model whose networks and preprocessing the training starts with. Raises
        InputError as ``fit``, and for weights or labels that are not those of its networks.
        """
        config, networks = self.resolved(), self.ensemble or 1
        for part in (trained_on, validated_on):
            for what, array in (("weight", part.weight), ("label", part.label)):
                if array is not None and array.shape != (len(part.events), networks):
                    raise InputError(
                        f"{what}: found shape {array.shape}, expected "
                        f"{(len(part.events), networks)}: of each event, for each network"
                    )
            if part.weight is not None and self.bootstrap:
                raise InputError("bootstrap: found weights for each network, expected none")
        training = config.training
        assert training is not None
        known = None if start is None else start.preprocessing
        batches, preprocessing, loss = config.objective(trained_on, known)
        lengths = batches.buckets.lengths
        forward = make_forward(preprocessing, training.precision, networks)

        def validation_loss(classifier: Classifier | Ensemble) -> np.ndarray:
            logits = predict(forward, classifier, validated_on.events, lengths, networks)
            losses = weighted_cross_entropy(logits, validated_on)
            return losses if self.each_best else losses.mean()

        classifier, origin = config._start(start)
        if origin is not None and start is None:
            progress({"stage": f"  {origin}"})
        identity = f"{config!r} on {trained_on.digest()}, {validated_on.digest()}"
        if start is not None:
            identity += f", from {digest(start.classifier)}"
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
            each_best=self.each_best,
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
