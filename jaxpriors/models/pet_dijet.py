"""PET for dijets, as OmniLearn has it for the LHC Olympics (arXiv:2404.16091).

Axes: B events, P particles of a jet, F features of a particle, J features of a jet, C channels,
Y classes, or inputs that condition a generator. The classifier reads the particles of both jets;
the generator makes the dijet first, then the particles of each jet. Neither knows an order of the
jets: if they are exchanged, the classifier's outputs stay the same, and generated jets change
places.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers.core import Linear, check_fields, gelu, module, stack_init
from jaxpriors.models.pet import Body
from jaxpriors.models.pet_blocks import (
    GroupNorm,
    PETConfig,
    TimeEmbedding,
    TokenBlock,
    apply_blocks,
    film,
    two_layers,
)
from jaxpriors.models.pet_heads import ClassifierHead, GeneratorHead

JETS = 2
CLASSIFIER_WIDTH, GENERATOR_WIDTH = 4, 2  # of the MLPs over the jets, in units of C


@dataclass(frozen=True, kw_only=True)
class PETTwoJetClassifierConfig(PETConfig):
    """Sizes and switches of `PETTwoJetClassifier`: PET's, and the blocks over the dijet.

    num_jet_layers and num_jet_heads are those of the encoder of the jets. Every part is trained;
    OmniLearn leaves this encoder, that of the mass and ``part_norm`` at their initial weights.
    """

    num_jet_features: int = 5
    num_classes: int = 1
    num_jet_layers: int = 6
    num_jet_heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_jet_blocks(self)


@dataclass(frozen=True, kw_only=True)
class PETTwoJetGeneratorConfig(PETConfig):
    """Sizes and switches of `PETTwoJetGenerator`: PET's, and the blocks over the dijet.

    num_classes counts the inputs that condition the generation, such as the dijet mass and 1;
    num_jet_layers and num_jet_heads are those of the jets' generator.
    feature_mean and feature_std are the mean and standard deviation of the first features of the
    particles in the units in which body and head were pretrained; empty where these are the same.
    """

    num_jet_features: int = 5
    num_classes: int = 2
    num_jet_layers: int = 6
    num_jet_heads: int = 4
    feature_mean: tuple[float, ...] = ()
    feature_std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_jet_blocks(self)
        mean, std = self.feature_mean, self.feature_std
        if len(mean) != len(std) or len(mean) > self.num_features or not all(std):
            raise ValueError(
                f"feature_mean is {mean}, feature_std is {std}: expected equally many, at most "
                f"num_features = {self.num_features}, and no standard deviation of zero"
            )


def _check_jet_blocks(config: DijetPETConfig) -> None:
    """Raise ValueError where the blocks over the jets make no network."""
    check_fields(config, {"num_jet_layers": 1, "num_jet_heads": 1})
    if config.hidden_channels % config.num_jet_heads:
        raise ValueError(
            f"hidden_channels is {config.hidden_channels}, expected a multiple of num_jet_heads = "
            f"{config.num_jet_heads}"
        )


DijetPETConfig = PETTwoJetClassifierConfig | PETTwoJetGeneratorConfig


def dijet_config(config: PETConfig) -> PETTwoJetClassifierConfig:
    """Make the configuration of a dijet classifier with body and head as large as a PET's."""
    own = {f.name: getattr(config, f.name) for f in dataclasses.fields(PETConfig)}
    for name in ("num_jet_features", "num_classes"):
        del own[name]
    return PETTwoJetClassifierConfig(**own)


def _init_blocks(key: Array, config: DijetPETConfig, width: int) -> TokenBlock:
    return stack_init(
        lambda k: TokenBlock.init(k, config, config.num_jet_heads, width),
        key,
        config.num_jet_layers,
    )


def _run_blocks(config: PETConfig, blocks: TokenBlock, x: Array, key: Array | None) -> Array:
    return apply_blocks(config, blocks, x, key, lambda b, x, k: b(x, None, None, config, k))


def _encode(layers: tuple[Linear, Linear], x: Array) -> Array:
    """Apply two layers, each with gelu."""
    return gelu(layers[1](gelu(layers[0](x))))


@module(static=("config",))
class JetEncoder:
    """J features of the event, encoded from the kinematics of both jets."""

    embed: tuple[Linear, Linear]
    blocks: TokenBlock  # stacked along a leading axis
    norm: GroupNorm
    out: Linear
    config: PETTwoJetClassifierConfig

    @classmethod
    def init(cls, key: Array, config: PETTwoJetClassifierConfig) -> JetEncoder:
        """Draw random maps."""
        inputs, channels = config.num_jet_features, config.hidden_channels
        keys = jax.random.split(key, 3)
        return cls(
            two_layers(keys[0], inputs, 2 * channels, channels),
            _init_blocks(keys[1], config, CLASSIFIER_WIDTH),
            GroupNorm.init(channels),
            Linear.glorot(keys[2], channels, inputs),
            config,
        )

    def __call__(self, jets: Array, *, key: Array | None = None) -> Array:
        """Encode jets (B, 2, J) as (B, J), the mean over the jets."""
        x = _run_blocks(self.config, self.blocks, _encode(self.embed, jets), key)
        return self.out(self.norm(x)).mean(1)


@module(static=("config",))
class PETTwoJetClassifier:
    """Body of each jet, a common norm scaled and shifted by the mass, one head over all particles.

    The output of ``jetenc`` is an input of ``cls`` in place of a jet's features.
    """

    body: Body
    cls: ClassifierHead
    jetenc: JetEncoder
    mass: tuple[Linear, Linear]
    part_norm: GroupNorm
    config: PETTwoJetClassifierConfig

    @classmethod
    def init(cls, key: Array, config: PETTwoJetClassifierConfig) -> PETTwoJetClassifier:
        """Draw random weights."""
        keys, channels = jax.random.split(key, 4), config.hidden_channels
        return cls(
            Body.init(keys[0], config),
            ClassifierHead.init(keys[1], config),
            JetEncoder.init(keys[2], config),
            two_layers(keys[3], 1, 4 * channels, 2 * channels),
            GroupNorm.init(channels),
            config,
        )

    def __call__(
        self, features: Array, mask: Array, jets: Array, mass: Array, *, key: Array | None = None
    ) -> tuple[Array, Array]:
        """Return (logits (B, Y), regression (B, J)) of an event.

        features (B, 2, P, F), mask (B, 2, P) bool, jets (B, 2, J), mass (B,) of the dijet, all
        normalised. Raises ValueError for other shapes.
        """
        batch, particles = mask.shape[0], mask.shape[-1]
        expected = (batch, JETS, particles), (batch, JETS, self.config.num_jet_features), (batch,)
        if (mask.shape, jets.shape, mass.shape) != expected:
            raise ValueError(
                f"PETTwoJetClassifier: found mask {mask.shape}, jets {jets.shape}, mass "
                f"{mass.shape}, expected (B, 2, P), (B, 2, {self.config.num_jet_features}), (B,)"
            )
        keys = [None] * 3 if key is None else jax.random.split(key, 3)
        each = self.body(
            features.reshape(-1, *features.shape[2:]), mask.reshape(-1, particles), key=keys[0]
        )
        mask = mask.reshape(batch, -1)
        normed = self.part_norm(
            each.reshape(batch, JETS * particles, -1),
            mask if self.config.mode == "masked" else None,
        )
        encoded = film(normed, _encode(self.mass, mass[:, None])[:, None])
        return self.cls(encoded, mask, self.jetenc(jets, key=keys[1]), key=keys[2])


@module(static=("config",))
class JetGenerator:
    """The velocity of the features of both jets."""

    label: tuple[Linear, Linear]
    time: TimeEmbedding
    film: Linear
    embed: tuple[Linear, Linear]
    norm_embed: GroupNorm
    blocks: TokenBlock  # stacked along a leading axis
    norm: GroupNorm
    out: Linear
    config: PETTwoJetGeneratorConfig

    @classmethod
    def init(cls, key: Array, config: PETTwoJetGeneratorConfig) -> JetGenerator:
        """Draw random maps; the last is zero."""
        inputs, channels = config.num_jet_features, config.hidden_channels
        keys = jax.random.split(key, 6)
        label = (
            Linear.glorot(keys[0], config.num_classes, 2 * channels, bias=False),
            Linear.glorot(keys[1], 2 * channels, channels, bias=False),
        )
        return cls(
            label=label,
            time=TimeEmbedding.init(keys[2], channels, film=False),
            film=Linear.glorot(keys[3], channels, 2 * channels),
            embed=two_layers(keys[4], inputs, 2 * channels, channels),
            norm_embed=GroupNorm.init(channels),
            blocks=_init_blocks(keys[5], config, GENERATOR_WIDTH),
            norm=GroupNorm.init(channels),
            out=Linear(jnp.zeros((inputs, channels)), jnp.zeros(inputs)),
            config=config,
        )

    def __call__(
        self, jets: Array, time: Array, label: Array, *, key: Array | None = None
    ) -> Array:
        """Compute (B, 2, J) from jets (B, 2, J), time (B,) and label (B, Y)."""
        condition = _encode(self.label, label) + self.time(time).astype(label.dtype)
        scale_shift = gelu(self.film(condition))[:, None]
        x = film(self.norm_embed(_encode(self.embed, jets)), scale_shift)
        return self.out(self.norm(_run_blocks(self.config, self.blocks, x, key)))


@module(static=("config",))
class PETTwoJetGenerator:
    """Velocities of two diffusion models: of the dijet, and of the particles of a jet.

    Both are conditioned on ``label`` (B, Y), observables of the event such as its dijet mass.
    """

    body: Body
    gen: GeneratorHead
    jetmodel: JetGenerator
    config: PETTwoJetGeneratorConfig

    @classmethod
    def init(cls, key: Array, config: PETTwoJetGeneratorConfig) -> PETTwoJetGenerator:
        """Draw random weights."""
        keys = jax.random.split(key, 3)
        return cls(
            Body.init(keys[0], config),
            GeneratorHead.init(keys[1], config),
            JetGenerator.init(keys[2], config),
            config,
        )

    def jet_velocity(
        self, jets: Array, time: Array, label: Array, *, key: Array | None = None
    ) -> Array:
        """Compute (B, 2, J) from jets (B, 2, J), time (B,) and label (B, Y)."""
        return self.jetmodel(jets, time, label, key=key)

    def velocity(
        self,
        features: Array,
        mask: Array,
        jet: Array,
        time: Array,
        label: Array,
        *,
        key: Array | None = None,
    ) -> Array:
        """Compute (B, P, F), zero on padding, for single jets; the first num_diffusion are used.

        features (B, P, F), mask (B, P) bool, jet (B, J), time (B,), label (B, Y). Body and head see
        the features in the units of their pretraining; their output is scaled and shifted back.
        """
        body_key, head_key = (None, None) if key is None else jax.random.split(key)
        mean, std = self._pretraining_units(features.dtype)
        inside = jnp.where(mask[..., None], (features - mean) / std, 0)
        encoded = self.body(inside, mask, time, points=features[..., :2], key=body_key)
        out = self.gen(encoded, mask, jet, time, label, key=head_key)
        return jnp.where(mask[..., None], std.astype(out.dtype) * out + mean.astype(out.dtype), 0)

    def _pretraining_units(self, dtype: Any) -> tuple[Array, Array]:
        """Return mean and standard deviation (F,) of the features in the pretraining's units."""
        mean, std = self.config.feature_mean, self.config.feature_std
        rest = self.config.num_features - len(mean)
        return jnp.array([*mean, *[0.0] * rest], dtype), jnp.array([*std, *[1.0] * rest], dtype)
