"""Binary classifiers: a network, the inputs that it accepts, and the logit that it gives.

Several networks of one configuration are an ensemble, trained and applied as one program: their
parameters are stacked along a leading axis, over which ``vmap`` runs. They see the same events in
the same order, and differ in their initial weights and, with a bootstrap, in how often each event
counts. Their spread shows how much a result depends on the training, or on it and its sample.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.data.dijets import JET_COLUMNS
from jaxpriors.errors import InputError
from jaxpriors.layers.attention import Mask
from jaxpriors.layers.core import module
from jaxpriors.models.lgatr import LGATr, LGATrConfig
from jaxpriors.models.lgatr_slim import LGATrSlim, LGATrSlimConfig
from jaxpriors.models.mlp import MLP, MLPConfig
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.pet_dijet import PETTwoJetClassifier, PETTwoJetClassifierConfig
from jaxpriors.physics.algebra import embed_vector, extract_vector
from jaxpriors.physics.jet_features import FEATURES, JET_FEATURES
from jaxpriors.preprocessing.clouds import (
    DijetCloud,
    DijetCloudConfig,
    PointCloud,
    PointCloudConfig,
)
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.preprocessing.registry import InputsConfig
from jaxpriors.preprocessing.tokens import DijetConfig, InputConfig, Inputs, TokenConfig

CLASS = 0  # index of the class token
DROPS = ("dropout_prob", "dropout", "drop_path", "feature_drop")  # rates, of trainings alone
NetworkConfig = LGATrConfig | LGATrSlimConfig | PETConfig | MLPConfig


@module
class LGATrClassifier:
    """Classify by the scalar part of the class token's multivector, as lgatr's tagger does."""

    network: LGATr
    accepts: ClassVar[tuple[type[InputsConfig], ...]] = (InputConfig, DijetConfig)

    @classmethod
    def init(cls, key: Array, config: LGATrConfig, inputs: TokenConfig) -> "LGATrClassifier":
        """Make a network whose input and output channels follow from the inputs."""
        config = dataclasses.replace(
            config,
            in_mv_channels=1,
            out_mv_channels=1,
            in_s_channels=inputs.scalars,
            out_s_channels=None,
        )
        return cls(LGATr.init(key, config))

    def __call__(self, inputs: Inputs, *, key: Array | None = None) -> Array:
        """Give logits (B,). ``key`` turns dropout on."""
        multivectors = embed_vector(inputs.vectors)
        count = len(inputs.references)
        multivectors = multivectors.at[:, 1 : 1 + count].add(
            inputs.references.astype(multivectors.dtype)
        )
        out, _ = self.network(
            multivectors[:, :, None],
            inputs.scalars,
            Mask(lengths=inputs.length),
            key=key,
            readout=CLASS + 1,
        )
        return out[:, CLASS, 0, 0]


@module
class LGATrSlimClassifier:
    """Classify by the scalar output of the class token."""

    network: LGATrSlim
    accepts: ClassVar[tuple[type[InputsConfig], ...]] = (InputConfig, DijetConfig)

    @classmethod
    def init(
        cls, key: Array, config: LGATrSlimConfig, inputs: TokenConfig
    ) -> "LGATrSlimClassifier":
        """Make a network whose input and output channels follow from the inputs."""
        config = dataclasses.replace(
            config,
            in_v_channels=1,
            out_v_channels=1,
            in_s_channels=inputs.scalars,
            out_s_channels=1,
        )
        return cls(LGATrSlim.init(key, config))

    def __call__(self, inputs: Inputs, *, key: Array | None = None) -> Array:
        """Give logits (B,). ``key`` turns dropout on."""
        vectors, count = inputs.vectors, len(inputs.references)
        references = extract_vector(inputs.references)
        vectors = vectors.at[:, 1 : 1 + count].add(references.astype(vectors.dtype))
        _, scalars = self.network(
            vectors[:, :, None],
            inputs.scalars,
            Mask(lengths=inputs.length),
            key=key,
            readout=CLASS + 1,
        )
        return scalars[:, CLASS, 0]


@module
class PETClassifier:
    """Classify by the single output of PET's classification head."""

    network: PET
    accepts: ClassVar[tuple[type[InputsConfig], ...]] = (PointCloudConfig,)

    @classmethod
    def init(cls, key: Array, config: PETConfig, inputs: PointCloudConfig) -> "PETClassifier":
        """Make a PET of one class, without a generation head."""
        config = dataclasses.replace(
            config, num_features=len(FEATURES), num_jet_features=len(JET_FEATURES), num_classes=1
        )
        return cls(PET.init(key, config, heads=("cls",)))

    def __call__(self, inputs: PointCloud, *, key: Array | None = None) -> Array:
        """Give logits (B,). ``key`` turns the drops on."""
        logits, _ = self.network.classify(inputs.features, inputs.mask, inputs.jet, key=key)
        return logits[:, 0]

    def with_regression(self, inputs: PointCloud, *, key: Array | None = None) -> Array:
        """Give (B, 2): the logit, and the mean squared error of the regressed jet features.

        No gradient of the error reaches the body. ``key`` turns the drops on.
        """
        given = inputs.features, inputs.mask, inputs.jet
        logits, jet = self.network.classify(*given, key=key, detached=True)
        wide = jnp.promote_types(jet.dtype, jnp.float32)
        error = jnp.square(jet.astype(wide) - inputs.jet.astype(wide)).mean(-1)
        return jnp.stack([logits[:, 0].astype(wide), error], axis=-1)


@module
class DijetPETClassifier:
    """Classify by the single output of PET for events of two jets."""

    network: PETTwoJetClassifier
    accepts: ClassVar[tuple[type[InputsConfig], ...]] = (DijetCloudConfig,)

    @classmethod
    def init(
        cls, key: Array, config: PETTwoJetClassifierConfig, inputs: DijetCloudConfig
    ) -> "DijetPETClassifier":
        """Make a PET of one class."""
        features, jets = len(FEATURES), len(JET_COLUMNS)
        config = dataclasses.replace(
            config, num_features=features, num_jet_features=jets, num_classes=1
        )
        return cls(PETTwoJetClassifier.init(key, config))

    def __call__(self, inputs: DijetCloud, *, key: Array | None = None) -> Array:
        """Give logits (B,). ``key`` turns the drops on."""
        given = inputs.features, inputs.mask, inputs.jets, inputs.mass
        logits, _ = self.network(*given, key=key)
        return logits[:, 0]


@module
class MLPClassifier:
    """Classify by the single output of an MLP on columns of the event."""

    network: MLP
    accepts: ClassVar[tuple[type[InputsConfig], ...]] = (ColumnsConfig,)

    @classmethod
    def init(cls, key: Array, config: MLPConfig, inputs: ColumnsConfig) -> "MLPClassifier":
        """Make an MLP for the columns."""
        config = dataclasses.replace(config, num_features=len(inputs.columns))
        return cls(MLP.init(key, config))

    def __call__(self, inputs: Array, *, key: Array | None = None) -> Array:
        """Give logits (B,) of columns (B, F). ``key`` turns dropout on."""
        return self.network(inputs, key=key)


Classifier = (
    LGATrClassifier | LGATrSlimClassifier | PETClassifier | DijetPETClassifier | MLPClassifier
)
CLASSIFIERS: dict[type, Any] = {
    LGATrConfig: LGATrClassifier,
    LGATrSlimConfig: LGATrSlimClassifier,
    PETConfig: PETClassifier,
    PETTwoJetClassifierConfig: DijetPETClassifier,
    MLPConfig: MLPClassifier,
}
"""Type of a network's configuration → classifier."""


def classifier_of(network: Any) -> Classifier:
    """Make the classifier of a network; raise InputError for a network without log ratio."""
    if type(network.config) not in CLASSIFIERS:
        raise InputError(
            f"network: found {type(network).__name__}, expected one that gives a log ratio: "
            "LGATr, LGATrSlim, PET, PETTwoJetClassifier or MLP"
        )
    return CLASSIFIERS[type(network.config)](network)


def init_classifier(key: Array, config: NetworkConfig, inputs: InputsConfig) -> Classifier:
    """Initialise a classifier; raise InputError where its network does not accept the inputs."""
    check_inputs(config, inputs, type(config).__name__)
    return CLASSIFIERS[type(config)].init(key, config, inputs)


def check_inputs(config: NetworkConfig, inputs: InputsConfig, name: str) -> None:
    """Raise InputError where the network ``name`` does not accept these inputs."""
    accepted = CLASSIFIERS[type(config)].accepts
    if not isinstance(inputs, accepted):
        raise InputError(
            f"inputs: found {type(inputs).__name__}, expected "
            f"{' or '.join(kind.__name__ for kind in accepted)} for {name}"
        )
    if type(config) is LGATrSlimConfig and getattr(inputs, "beam", None) == "xyplane":
        raise InputError(
            "beam: found 'xyplane', a bivector, which lgatr-slim has no channels for; expected "
            "lightlike, spacelike, timelike or none"
        )


@module
class Ensemble:
    """Hold k classifiers: every parameter of ``members`` has a leading axis of length k."""

    members: Classifier

    @classmethod
    def of(cls, classifiers: Sequence[Classifier]) -> "Ensemble":
        """Stack classifiers of one configuration."""
        return cls(jax.tree.map(lambda *x: jnp.stack(x), *classifiers))

    @property
    def size(self) -> int:
        """Give the number of networks, k."""
        return jax.tree.leaves(self.members)[0].shape[0]

    def __call__(self, inputs: Any, *, key: Array | None = None) -> Array:
        """Give logits (B, k). ``key`` turns dropout on; member 0 drops as a single network does."""
        return self._each(lambda member, key: member(inputs, key=key), key)

    def with_regression(self, inputs: Any, *, key: Array | None = None) -> Array:
        """Give logits and errors (B, k, 2), as `PETClassifier.with_regression`."""
        return self._each(lambda member, key: member.with_regression(inputs, key=key), key)

    def _each(self, one: Callable[[Any, Array | None], Array], key: Array | None) -> Array:
        """Apply ``one`` to every member: (B, k, …)."""
        if key is None:
            return jax.vmap(one, (0, None), 1)(self.members, None)
        keys = jnp.stack([key, *(jax.random.fold_in(key, i) for i in range(1, self.size))])
        return jax.vmap(one, (0, 0), 1)(self.members, keys)


def stacked(classifier: Classifier | Ensemble) -> Ensemble:
    """Turn a single classifier into an ensemble of one; an ensemble stays as it is."""
    return classifier if isinstance(classifier, Ensemble) else Ensemble.of([classifier])


def at_ratio_one(classifier: Classifier | Ensemble) -> Classifier | Ensemble:
    """Set the output layers to zero, so that all log ratios are 0; what feeds them stays."""
    one_of: Any = classifier.members if isinstance(classifier, Ensemble) else classifier
    if isinstance(one_of, MLPClassifier):
        output = f"layers.{len(one_of.network.layers) - 1}"
    else:
        output = "cls.out" if hasattr(one_of.network, "cls") else "linear_out"

    def one(path: Any, value: Array) -> Array:
        place = "." + jax.tree_util.keystr(path, simple=True, separator=".")
        return jnp.zeros_like(value) if f".network.{output}." in place else value

    return jax.tree_util.tree_map_with_path(one, classifier)


def networks_of(classifier: Classifier | Ensemble) -> list[Any]:
    """List the networks."""
    if not isinstance(classifier, Ensemble):
        return [classifier.network]
    stacked = jax.device_get(classifier.members.network)  # at once, and not a slice at a time
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(classifier.size)]


def from_networks(networks: Sequence[Any]) -> Classifier | Ensemble:
    """Make the classifier of one network or the ensemble of several; inverts ``networks_of``.

    Raises InputError where their configurations differ.
    """
    if len({network.config for network in networks}) > 1:
        raise InputError("ensemble: found networks of several configurations, expected one")
    classifiers = [classifier_of(network) for network in networks]
    return classifiers[0] if len(classifiers) == 1 else Ensemble.of(classifiers)


def ensemble_rows(most: int | None, networks: int) -> int | None:
    """Give the rows in a chunk of an ensemble, where one network takes at most ``most`` rows."""
    return None if most is None else max(most // networks, 1)
