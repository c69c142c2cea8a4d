"""Binary classifiers: a network, its inputs and the logit that is read off them."""

import dataclasses
from typing import Any

from jax import Array

from jaxpriors.algebra import embed_vector, extract_vector
from jaxpriors.data.dijets import JET_COLUMNS
from jaxpriors.dijet_inputs import DijetCloud, DijetCloudConfig, DijetConfig
from jaxpriors.features import FEATURES, JET_FEATURES, PointCloud, PointCloudConfig
from jaxpriors.inputs import InputConfig, Inputs
from jaxpriors.layers.attention import Mask
from jaxpriors.layers.core import module
from jaxpriors.models.lgatr import LGATr, LGATrConfig
from jaxpriors.models.lgatr_slim import LGATrSlim, LGATrSlimConfig
from jaxpriors.models.mlp import MLP, MLPConfig
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.pet_twojet import PETTwoJetClassifier, PETTwoJetClassifierConfig
from jaxpriors.models.presets import NetworkConfig
from jaxpriors.numbers import NumbersConfig
from jaxpriors.preprocessing import InputsConfig

CLASS = 0  # the class token's place


@module
class LGATrClassifier:
    """Logit: the scalar part of the class token's multivector (as lgatr's tagger has it)."""

    network: LGATr

    @classmethod
    def init(cls, key: Array, config: LGATrConfig, scalars: int) -> "LGATrClassifier":
        """Tokens have ``scalars`` scalars; the config's numbers of in and out channels follow."""
        config = dataclasses.replace(
            config,
            in_mv_channels=1,
            out_mv_channels=1,
            in_s_channels=scalars,
            out_s_channels=None,
        )
        return cls(LGATr.init(key, config))

    def __call__(self, inputs: Inputs, *, key: Array | None = None) -> Array:
        """Logits (B,). ``key`` switches dropout on."""
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
    """Logit: the class token's scalar output."""

    network: LGATrSlim

    @classmethod
    def init(cls, key: Array, config: LGATrSlimConfig, scalars: int) -> "LGATrSlimClassifier":
        """Tokens have ``scalars`` scalars; the config's numbers of in and out channels follow."""
        config = dataclasses.replace(
            config, in_v_channels=1, out_v_channels=1, in_s_channels=scalars, out_s_channels=1
        )
        return cls(LGATrSlim.init(key, config))

    def __call__(self, inputs: Inputs, *, key: Array | None = None) -> Array:
        """Logits (B,). ``key`` switches dropout on."""
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
    """Logit: the one output of PET's head for classification."""

    network: PET

    @classmethod
    def init(cls, key: Array, config: PETConfig) -> "PETClassifier":
        """One class, no head for generation; the numbers of features follow from the inputs."""
        config = dataclasses.replace(
            config, num_features=len(FEATURES), num_jet_features=len(JET_FEATURES), num_classes=1
        )
        return cls(PET.init(key, config, heads=("cls",)))

    def __call__(self, inputs: PointCloud, *, key: Array | None = None) -> Array:
        """Logits (B,). ``key`` switches the drops on."""
        logits, _ = self.network.classify(inputs.features, inputs.mask, inputs.jet, key=key)
        return logits[:, 0]


@module
class DijetPETClassifier:
    """Logit: the one output of PET for events of two jets."""

    network: PETTwoJetClassifier

    @classmethod
    def init(cls, key: Array, config: PETTwoJetClassifierConfig) -> "DijetPETClassifier":
        """One class; the numbers of features follow from the inputs."""
        features, jets = len(FEATURES), len(JET_COLUMNS)
        config = dataclasses.replace(
            config, num_features=features, num_jet_features=jets, num_classes=1
        )
        return cls(PETTwoJetClassifier.init(key, config))

    def __call__(self, inputs: DijetCloud, *, key: Array | None = None) -> Array:
        """Logits (B,). ``key`` switches the drops on."""
        given = inputs.features, inputs.mask, inputs.jets, inputs.mass
        logits, _ = self.network(*given, key=key)
        return logits[:, 0]


@module
class MLPClassifier:
    """Logit: the one output of an MLP on the event's numbers."""

    network: MLP

    @classmethod
    def init(cls, key: Array, config: MLPConfig, numbers: int) -> "MLPClassifier":
        """For so many numbers."""
        return cls(MLP.init(key, dataclasses.replace(config, num_features=numbers)))

    def __call__(self, inputs: Array, *, key: Array | None = None) -> Array:
        """Logits (B,) of numbers (B, F). ``key`` switches dropout on."""
        return self.network(inputs, key=key)


Classifier = (
    LGATrClassifier | LGATrSlimClassifier | PETClassifier | DijetPETClassifier | MLPClassifier
)


def drops(config: NetworkConfig) -> bool:
    """Whether such a network draws, in training, what to drop."""
    rates = ("dropout_prob", "dropout", "drop_path", "feature_drop")
    return any(getattr(config, name, 0.0) for name in rates)


def classifier_of(network: Any) -> Classifier:
    """The classifier around a network; TypeError where its class has none."""
    if isinstance(network, LGATrSlim):
        return LGATrSlimClassifier(network)
    if isinstance(network, LGATr):
        return LGATrClassifier(network)
    if isinstance(network, PET):
        return PETClassifier(network)
    if isinstance(network, PETTwoJetClassifier):
        return DijetPETClassifier(network)
    if isinstance(network, MLP):
        return MLPClassifier(network)
    raise TypeError(
        f"network: found {type(network).__name__}, expected LGATr, LGATrSlim, PET, "
        "PETTwoJetClassifier or MLP"
    )


def takes(config: NetworkConfig) -> tuple[type[InputsConfig], ...]:
    """The kinds of inputs that a network of this configuration takes, the usual one first."""
    if isinstance(config, PETTwoJetClassifierConfig):
        return (DijetCloudConfig,)
    if isinstance(config, PETConfig):
        return (PointCloudConfig,)
    return (NumbersConfig,) if isinstance(config, MLPConfig) else (InputConfig, DijetConfig)


def init_classifier(key: Array, config: NetworkConfig, inputs: InputsConfig) -> Classifier:
    """The classifier of a network's configuration for inputs of that kind.

    Raises TypeError where the network does not take such inputs.
    """
    if not isinstance(inputs, takes(config)):
        raise TypeError(f"{type(config).__name__} takes no inputs of {type(inputs).__name__}")
    if isinstance(config, PETTwoJetClassifierConfig):
        return DijetPETClassifier.init(key, config)
    if isinstance(config, PETConfig):
        return PETClassifier.init(key, config)
    if isinstance(inputs, NumbersConfig):
        assert isinstance(config, MLPConfig)
        return MLPClassifier.init(key, config, len(inputs.columns))
    assert isinstance(inputs, InputConfig | DijetConfig)
    if isinstance(config, LGATrSlimConfig):
        return LGATrSlimClassifier.init(key, config, inputs.scalars)
    assert isinstance(config, LGATrConfig)
    return LGATrClassifier.init(key, config, inputs.scalars)
