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
from typing import Any, Literal

import jax
import numpy as np
from jax import Array

from jaxpriors.data.batching import TrainingBatches, plan_buckets, split
from jaxpriors.data.stored import Sample
from jaxpriors.errors import InputError
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.registry import InputsConfig, Preprocessing
from jaxpriors.ratio import finetuning
from jaxpriors.ratio.examples import (
    PARTS,
    Examples,
    Split,
    bootstrap_weights,
    make_loss,
    two_classes,
    weighted_cross_entropy,
)
from jaxpriors.ratio.finetuning import Origin, Pretrained
from jaxpriors.ratio.model import RatioModel, make_forward
from jaxpriors.ratio.networks import (
    CLASSIFIERS,
    DROPS,
    Classifier,
    Ensemble,
    NetworkConfig,
    check_inputs,
    classifier_of,
    ensemble_rows,
    networks_of,
    stacked,
)
from jaxpriors.ratio.presets import find_model
from jaxpriors.run import processes
from jaxpriors.run.ranges import MOST_NETWORKS, check_number, check_whole
from jaxpriors.run.storage import digest
from jaxpriors.training.loop import Record, Trained, TrainingConfig, train
from jaxpriors.training.options import Compute, TrainingOptions
from jaxpriors.training.parallel import default_micro_batch, predict
from jaxpriors.training.step import Loss
from jaxpriors.training.tuned import tuned


@dataclass(frozen=True, init=False)
class RatioClassifier:
    """Configure the fit of a likelihood ratio; ``fit`` runs it.

    The constructor fills in all fields: a field that is not given, or None, takes the default of
    the model and size. ``dataclasses.replace`` keeps the other fields as they are.

    Args:
        model: lgatr, lgatr-slim, pet, pet-finetuned or mlp (`ratio.presets.MODELS`).
        size: small (minutes on two cores) or paper.
        inputs: what the network sees: an ``InputConfig`` or, for events of two jets, a
            ``DijetConfig`` for L-GATr; a ``PointCloudConfig`` or ``DijetCloudConfig`` for PET; a
            ``ColumnsConfig`` for an MLP (MultiFold), by default of the columns named as the
            observables (`evaluation.observables.with_observables` makes them).
        network: configuration of the network, instead of the default of the size.
        training: configuration of the training, instead of the default of the size.
        validation: share of the events that select the best epoch, where ``fit`` gets no
            validation samples.
        pretrained: where pet-finetuned starts: a ported network or the folder of a pretraining;
            None for the weights in this package. These weights determine the network.
        ensemble: number of networks that train as one program, None for a single network. All see
            the same batches; network i starts like a single network with ``training.seed`` + i. A
            device processes ``training.micro_batch`` events times networks at once.
        bootstrap: each network weights the training events with its own Poisson counts, so that
            the spread of the networks covers the statistics of the sample.
        each_best: each network keeps the epoch of its own smallest validation loss; otherwise all
            keep the epoch with the smallest mean validation loss.
        regression: whether the head of a PET, for one jet, also learns the jet's features, as in
            OmniLearn's OmniFold (`ratio.examples.make_loss`); by default in size paper.

    Raises:
        InputError: an unknown model, inputs or a network of another model, pretrained weights
            that are missing or no PET, a bootstrap without an ensemble.

    >>> classifier = RatioClassifier("lgatr-slim", "paper")
    >>> classifier.network.num_blocks, classifier.training.epochs, classifier.inputs.beam
    (12, 20, 'lightlike')

    A network of features of one's own, which are columns of the events (MultiFold):

    >>> from jaxpriors.preprocessing.columns import ColumnsConfig
    >>> RatioClassifier("mlp", inputs=ColumnsConfig(("tau21", "mass"))).inputs.columns
    ('tau21', 'mass')
    """

    model: str
    size: Literal["small", "paper"]
    inputs: InputsConfig
    network: NetworkConfig
    training: TrainingConfig
    validation: float
    pretrained: Pretrained | None
    ensemble: int | None
    bootstrap: bool
    each_best: bool
    regression: bool

    def __init__(
        self,
        model: str = "lgatr-slim",
        size: Literal["small", "paper"] = "small",
        inputs: InputsConfig | None = None,
        network: NetworkConfig | None = None,
        training: TrainingConfig | None = None,
        validation: float = 0.15,
        pretrained: str | Path | Pretrained | None = None,
        ensemble: int | None = None,
        bootstrap: bool = False,
        each_best: bool = False,
        regression: bool | None = None,
    ) -> None:
        chosen = find_model(model)
        if size not in chosen.training:
            raise InputError(f"size: found {size!r}, expected one of {sorted(chosen.training)}")
        if ensemble is not None:
            check_whole("ensemble", ensemble, 1, MOST_NETWORKS)
        check_number("validation", validation, 0, 1, open_at=(0, 1))
        for name, asked in (("bootstrap", bootstrap), ("each_best", each_best)):
            if asked and ensemble is None:
                raise InputError(f"{name}: found no ensemble, expected its number of networks")
        dijet = chosen.dijet_inputs is not None and type(inputs) is chosen.dijet_inputs
        if chosen.pretrained:
            if pretrained is None and size == "paper":
                raise InputError(finetuning.NO_WEIGHTS)
            if not isinstance(pretrained, Pretrained):
                pretrained = finetuning.find(pretrained)
            expected: Any = finetuning.network_config(pretrained)
            inputs = finetuning.inputs_config(pretrained) if inputs is None else inputs
        elif pretrained is not None:
            raise InputError(
                f"pretrained: found {str(pretrained)!r}, expected none for {model}, which does not "
                "start from pretrained weights"
            )
        else:
            expected = chosen.network[size]()
            inputs = chosen.inputs() if inputs is None else inputs
        expected = chosen.of_dijets(expected) if dijet else expected
        network = expected if network is None else network
        if type(network) is not type(expected) or (chosen.pretrained and network != expected):
            wanted = f"that of the pretrained weights: {expected}" if chosen.pretrained else model
            raise InputError(f"network: found {network}, expected {wanted}")
        check_inputs(network, inputs, model)
        kernel = getattr(network, "attention_implementation", "xla")
        if ensemble is not None and kernel != "xla":
            raise InputError(
                f"attention_implementation: found {kernel!r}, a kernel for one network at a time; "
                "expected 'xla' for an ensemble"
            )
        training = chosen.training[size] if training is None else training
        can = type(inputs) is PointCloudConfig
        if regression and not can:
            raise InputError(f"regression: found it for {model}, expected a PET of one jet")
        regression = can and size == "paper" if regression is None else regression
        values = model, size, inputs, network, training, validation, pretrained
        more = ensemble, bootstrap, each_best, regression
        for field, value in zip(dataclasses.fields(self), (*values, *more), strict=True):
            object.__setattr__(self, field.name, value)

    def with_options(
        self, options: TrainingOptions, precision: Compute | None = None
    ) -> "RatioClassifier":
        """Replace the options of the training that are given, and its precision."""
        return dataclasses.replace(self, training=self.training.with_options(options, precision))

    def with_micro_batch(
        self,
        multiplicity: np.ndarray | None,
        begun: dict[str, Any] | None,
        progress: Callable[[Record], None],
    ) -> "RatioClassifier":
        """Fill in the micro-batch of the training (arguments: `training.tuned.tuned`)."""
        training = tuned(
            self.training,
            self.network,
            multiplicity,
            begun,
            lambda text: progress({"stage": f"{self.model}: {text}"}),
        )
        return dataclasses.replace(self, training=training)

    def initial(self, key: Array) -> tuple[Classifier, Origin | None]:
        """Make one network before training, with the origin of pretrained weights."""
        if self.pretrained is None:
            kind = CLASSIFIERS[type(self.network)]
            return kind.init(key, self.network, self.inputs), None
        config: Any = self.network
        network, origin = finetuning.start(self.pretrained, config, key)
        return classifier_of(network), origin

    def objective(
        self, trained_on: Examples, preprocessing: Preprocessing | None = None
    ) -> tuple[TrainingBatches, Preprocessing, Loss]:
        """Give the batches of the examples, their preprocessing and the loss.

        preprocessing: None to fit one to the events.
        """
        training, events = self.training, trained_on.events
        weight = trained_on.weight
        if weight is None and self.bootstrap:
            weight = bootstrap_weights(
                events, range(training.seed, training.seed + (self.ensemble or 1))
            )
        batches = TrainingBatches(
            events,
            plan_buckets(events.multiplicity, training.buckets),
            training.batch_size,
            training.seed,
            weight,
            trained_on.label,
        )
        if preprocessing is None:
            preprocessing = Preprocessing(self.inputs, self.inputs.learn(events))
        drops = any(getattr(self.network, rate, 0.0) for rate in DROPS)
        loss = make_loss(preprocessing, training.precision, drops, self.regression)
        return batches, preprocessing, loss

    def fit(
        self,
        simulation: Sample,
        data: Sample,
        validation: tuple[Sample, Sample] | None = None,
        folder: str | Path | None = None,
        progress: Callable[[Record], None] = lambda record: None,
    ) -> RatioModel:
        """Fit on simulation and data, except for the events set apart for validation.

        Samples on disk (`data.prepared.open_prepared`) stay there.

        Args:
            simulation: events of the denominator.
            data: events of the numerator.
            validation: (simulation, data) to validate on; by default a share is split off at
                random.
            folder: folder of the checkpoints; a call with the folder of a killed call resumes it.
            progress: function that gets the records of `training.loop.train`.

        Raises:
            InputError: a sample without events or with a sum of weights that is not positive.
            TrainingError: a loss that is not finite.
        """
        if folder is None:
            if processes.count() > 1:
                raise InputError(
                    f"folder: found none, expected one that all {processes.count()} processes see"
                )
            with tempfile.TemporaryDirectory(prefix="jaxpriors-") as scratch:
                return self.fit(simulation, data, validation, scratch, progress)
        examples = self.examples(simulation, data, validation)
        return self.train(*examples, Path(folder), progress)[0]

    def examples(
        self, simulation: Sample, data: Sample, validation: tuple[Sample, Sample] | None = None
    ) -> Split:
        """Give the examples to train and to validate on; arguments and errors as in ``fit``."""
        if validation is None:
            shares, seed = (1 - self.validation, self.validation), self.training.seed
            index = [split(len(events), shares, seed) for events in (simulation, data)]
            validation = simulation[index[0][1]], data[index[1][1]]
            simulation, data = simulation[index[0][0]], data[index[1][0]]
        select, columns = self.inputs.select, self.inputs.columns
        return (
            Examples(two_classes(select(simulation), select(data), columns, PARTS[0])),
            Examples(two_classes(select(validation[0]), select(validation[1]), columns, PARTS[1])),
        )

    def train(
        self,
        trained_on: Examples,
        validated_on: Examples,
        folder: Path,
        progress: Callable[[Record], None] = lambda record: None,
        start: RatioModel | None = None,
    ) -> tuple[RatioModel, Trained]:
        """Train on examples; return the model, and the records and times of the epochs.

        start: the model whose networks and preprocessing the training starts with. Raises
        InputError as ``fit`` does, and for weights or labels of a wrong shape.
        """
        training, networks = self.training, self.ensemble or 1
        for examples in (trained_on, validated_on):
            for what, array in (("weight", examples.weight), ("label", examples.label)):
                if array is not None and array.shape != (len(examples.events), networks):
                    raise InputError(
                        f"{what}: found shape {array.shape}, expected "
                        f"{(len(examples.events), networks)}: of each event, for each network"
                    )
            if examples.weight is not None and self.bootstrap:
                raise InputError("bootstrap: found weights for each network, expected none")
        known = None if start is None else start.preprocessing
        batches, preprocessing, loss = self.objective(trained_on, known)
        lengths = batches.buckets.lengths
        forward = make_forward(preprocessing, training.precision, networks)

        def validation_loss(classifier: Classifier | Ensemble) -> np.ndarray:
            logits = predict(forward, classifier, validated_on.events, lengths)
            losses = weighted_cross_entropy(logits, validated_on)
            return losses if self.each_best else losses.mean()

        classifier, origin = self._start(start)
        if origin is not None and start is None:
            progress({"stage": f"  {origin}"})
        identity = f"{self!r} on {trained_on.digest()}, {validated_on.digest()}"
        if start is not None:
            identity += f", from {digest(*jax.tree.leaves(start.classifier))}"
        most = training.micro_batch or default_micro_batch()
        if most is None and networks > 1:  # as many rows as a single network processes at once
            most = training.batch_size
        trained = train(
            classifier,
            loss,
            batches,
            validation_loss,
            dataclasses.replace(training, micro_batch=ensemble_rows(most, networks)),
            folder,
            progress,
            identity,
            stacked=self.ensemble is not None,
            each_best=self.each_best,
        )
        model = RatioModel(preprocessing, lengths, training.precision, trained.params, origin)
        return model, trained

    def _start(self, model: RatioModel | None) -> tuple[Classifier | Ensemble, Origin | None]:
        """Give the networks before training: those of the model, where there is one."""
        if model is not None:
            expected, found = self.ensemble or 1, len(networks_of(model.classifier))
            if found != expected:
                raise InputError(f"start: found {found} networks, expected {expected}")
            classifier = model.classifier
            return classifier if self.ensemble is None else stacked(classifier), model.origin
        seed = self.training.seed
        seeds = range(seed, seed + (self.ensemble or 1))
        starts = [self.initial(jax.random.key(seed)) for seed in seeds]
        classifier, origin = starts[0]
        if self.ensemble is None:
            return classifier, origin
        return Ensemble.of([start for start, _ in starts]), origin
