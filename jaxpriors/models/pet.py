"""PET, the point-edge transformer of OmniLearn (Mikuni & Nachman, arXiv:2404.16091).

Axes: B events, P particles, F features of a particle (the first two are its coordinates), J
features of the jet, C channels, Y classes. The body encodes the particles, one head classifies the
jet, another generates particles by diffusion. The time of diffusion is an input of the body, 0
for data.
"""

from __future__ import annotations

from collections.abc import Collection

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers.core import Linear, gelu, module, stack_init
from jaxpriors.layers.pointcloud import EdgeConvolution, nearest_real, nearest_shifted
from jaxpriors.models.pet_blocks import (
    Block,
    PETConfig,
    TimeEmbedding,
    apply_blocks,
    attended,
    film,
    two_layers,
)
from jaxpriors.models.pet_heads import ClassifierHead, GeneratorHead

__all__ = ["PET", "Body", "ClassifierHead", "GeneratorHead", "PETConfig"]

COORDINATES = 2


@module(static=("config",))
class Body:
    """Embedding of each particle, edge convolutions over its neighbours, transformer blocks."""

    embed: tuple[Linear, Linear]
    time: TimeEmbedding
    local: tuple[EdgeConvolution, ...]
    blocks: Block  # stacked along a leading axis
    config: PETConfig

    @classmethod
    def init(cls, key: Array, config: PETConfig) -> Body:
        """Draw random maps; residual branches start at the layer scale."""
        inputs, channels = config.num_features, config.hidden_channels
        keys = jax.random.split(key, 4)
        sizes = [inputs] + [channels] * config.num_local
        local_keys = jax.random.split(keys[2], max(config.num_local, 1))
        return cls(
            two_layers(keys[0], inputs, 2 * channels, channels),
            TimeEmbedding.init(keys[1], channels, film=True),
            tuple(
                EdgeConvolution.init(local_keys[i], sizes[i], channels)
                for i in range(config.num_local)
            ),
            stack_init(
                lambda k: Block.init(k, config, config.talking_head), keys[3], config.num_layers
            ),
            config,
        )

    def __call__(
        self,
        features: Array,
        mask: Array,
        time: Array | None = None,
        *,
        points: Array | None = None,
        key: Array | None = None,
    ) -> Array:
        """Encode features (B, P, F), mask (B, P) bool, time (B,), None for 0, as (B, P, C).

        points (B, P, 2) are the coordinates where these are not the first two features. Raises
        ValueError in mode "omnilearn" where there are not more rows than neighbours.
        """
        config = self.config
        drop_key, block_key = (None, None) if key is None else jax.random.split(key)
        x = skip = self.embed_particles(features, mask, time, points, drop_key)
        rows, real = attended(mask, config), mask[..., None].astype(x.dtype)
        x = apply_blocks(
            config,
            self.blocks,
            x,
            block_key,
            lambda block, x, k: block(x, None, mask, rows, config, k)[1] * real,
        )
        return x + skip

    def embed_particles(
        self,
        features: Array,
        mask: Array,
        time: Array | None = None,
        points: Array | None = None,
        key: Array | None = None,
    ) -> Array:
        """Embed the particles at this time and add the edge convolutions: (B, P, C)."""
        config = self.config
        _check_input(features, mask, config)
        masked, real = config.mode == "masked", mask[..., None]
        if masked:
            features = drop_features(jnp.where(real, features, 0), config, key)
        x = gelu(self.embed[1](gelu(self.embed[0](features))))
        if time is not None:
            assert self.time.film is not None
            embedded = self.time(time)[:, None] * real.astype(x.dtype)
            x = film(x, gelu(self.time.film(embedded)))
        x = x + self._local(features, mask, points)
        return jnp.where(real, x, 0) if masked else x

    def _local(self, features: Array, mask: Array, points: Array | None) -> Array:
        """Apply the edge convolutions, the first to neighbours in coordinates, then in channels."""
        config = self.config
        x, points = features, features[..., :COORDINATES] if points is None else points
        # ties follow what the particles are, not where they stand
        total = jax.lax.stop_gradient(features).astype(jnp.promote_types(x.dtype, jnp.float32))
        order = jnp.argsort(total.sum(-1))
        for layer in self.local:
            if config.mode == "masked":
                x = layer(x, *nearest_real(points, mask, config.neighbours, order))
            else:
                x = layer(x, nearest_shifted(points, mask, config.neighbours)[..., 1:])
            points = x
        return x if self.local else jnp.zeros((), features.dtype)


def drop_features(features: Array, config: PETConfig, key: Array | None) -> Array:
    """Zero the features beyond the first num_keep of whole events; keep all without a key."""
    if key is None or config.feature_drop == 0.0:
        return features
    keep = jax.random.bernoulli(key, 1 - config.feature_drop, (features.shape[0], 1, 1))
    first = jnp.arange(features.shape[-1]) < config.num_keep
    return jnp.where(keep | first, features, 0)


def _check_input(features: Array, mask: Array, config: PETConfig) -> None:
    """Raise ValueError unless features are (B, P, F) and mask is (B, P) bool."""
    fits = features.shape == (*mask.shape, config.num_features) and mask.ndim == 2
    if not fits or mask.dtype != jnp.bool_:
        raise ValueError(
            f"PET: found features {features.shape} and mask {mask.shape} of {mask.dtype}, expected "
            f"(B, P, {config.num_features}) and (B, P) of bool"
        )


@module(static=("config",))
class PET:
    """The body with a head for classification, one for generation, or both."""

    body: Body
    cls: ClassifierHead | None
    gen: GeneratorHead | None
    config: PETConfig

    @classmethod
    def init(cls, key: Array, config: PETConfig, heads: Collection[str] = ("cls", "gen")) -> PET:
        """Draw random weights; ``heads`` names the heads of the network."""
        body_key, cls_key, gen_key = jax.random.split(key, 3)
        return cls(
            Body.init(body_key, config),
            ClassifierHead.init(cls_key, config) if "cls" in heads else None,
            GeneratorHead.init(gen_key, config) if "gen" in heads else None,
            config,
        )

    def classify(
        self,
        features: Array,
        mask: Array,
        jet: Array,
        *,
        time: Array | None = None,
        key: Array | None = None,
        detached: bool = False,
    ) -> tuple[Array, Array]:
        """Return (logits (B, Y), regressed jet features (B, J)); ValueError without the head.

        With ``detached``, no gradient of the regression reaches the body.
        """
        if self.cls is None:
            raise ValueError("this PET has no head for classification")
        body_key, head_key = (None, None) if key is None else jax.random.split(key)
        encoded = self.body(features, mask, time, key=body_key)
        logits, regressed = self.cls(encoded, mask, jet, key=head_key)
        if detached:
            regressed = self.cls(jax.lax.stop_gradient(encoded), mask, jet, key=head_key)[1]
        return logits, regressed

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
        """Compute (B, P, F), the first num_diffusion being used; ValueError without the head."""
        if self.gen is None:
            raise ValueError("this PET has no head for generation")
        body_key, head_key = (None, None) if key is None else jax.random.split(key)
        encoded = self.body(features, mask, time, key=body_key)
        return self.gen(encoded, mask, jet, time, label, key=head_key)
