"""The heads of PET: classification with jet regression, and the velocity of a diffusion model.

Axes: B events, P particles, C channels, J jet features, Y classes, F particle features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers.core import Linear, gelu, module, stack_init
from jaxpriors.models.pet_blocks import (
    Block,
    GroupNorm,
    PETConfig,
    TimeEmbedding,
    TokenBlock,
    apply_blocks,
    attended,
    film,
    two_layers,
)


@module(static=("config",))
class ClassifierHead:
    """Logits of the classes and the regressed jet features.

    The jet's features scale and shift the particles, and a class token attends to them. The simple
    head averages over the particles, with ``jet`` and ``merge`` for ``film`` and ``blocks``.
    """

    film: Linear | None
    jet: tuple[Linear, Linear] | None
    merge: Linear | None
    class_token: Array | None  # (C,); None is zero
    blocks: TokenBlock | None  # stacked along a leading axis
    norm: GroupNorm
    out: Linear
    reg: Linear
    config: PETConfig

    @classmethod
    def init(cls, key: Array, config: PETConfig) -> ClassifierHead:
        """Draw random maps; the class token starts at zero."""
        channels, inputs = config.hidden_channels, config.num_jet_features
        keys = jax.random.split(key, 5)
        simple = config.simple
        trained = config.mode == "masked" and not simple
        return cls(
            film=None if simple else Linear.glorot(keys[0], inputs, 2 * channels),
            jet=two_layers(keys[0], inputs, 2 * channels, channels) if simple else None,
            merge=Linear.glorot(keys[1], channels, channels) if simple else None,
            class_token=jnp.zeros(channels) if trained else None,
            blocks=None
            if simple
            else stack_init(
                lambda k: TokenBlock.init(k, config, config.num_heads),
                keys[2],
                config.num_class_layers,
            ),
            norm=GroupNorm.init(channels),
            out=Linear.glorot(keys[3], channels, config.num_classes),
            reg=Linear.glorot(keys[4], channels, inputs),
            config=config,
        )

    def __call__(
        self, encoded: Array, mask: Array, jet: Array, *, key: Array | None = None
    ) -> tuple[Array, Array]:
        """Map encoded (B, P, C), mask (B, P), jet (B, J) to logits (B, Y), regression (B, J)."""
        rows = attended(mask, self.config)
        pooled = (
            self._mean(encoded, rows, jet)
            if self.config.simple
            else self._token(encoded, rows, jet, key)
        )
        return self.out(pooled), self.reg(pooled)

    def _mean(self, encoded: Array, rows: Array | None, jet: Array) -> Array:
        """Merge the mean over the particles with the jet: (B, C)."""
        assert self.jet is not None and self.merge is not None
        normed = self.norm(encoded, rows)
        if rows is None:
            mean = normed.mean(1)
        else:
            count = jnp.maximum(rows.sum(1), 1).astype(normed.dtype)
            mean = jnp.where(rows[..., None], normed, 0).sum(1) / count[:, None]
        return gelu(self.merge(mean + gelu(self.jet[1](gelu(self.jet[0](jet))))))

    def _token(self, encoded: Array, rows: Array | None, jet: Array, key: Array | None) -> Array:
        """Compute the class token after the blocks: (B, C)."""
        assert self.film is not None
        particles = film(encoded, gelu(self.film(jet))[:, None])
        shape = (encoded.shape[0], 1, encoded.shape[2])
        token = jnp.zeros((), encoded.dtype) if self.class_token is None else self.class_token
        all_rows = None if rows is None else jnp.pad(rows, ((0, 0), (1, 0)), constant_values=True)
        token = apply_blocks(
            self.config,
            self.blocks,
            jnp.broadcast_to(token.astype(encoded.dtype), shape),
            key,
            lambda block, x, k: block(x, particles, all_rows, self.config, k),
        )
        return self.norm(token)[:, 0]


@module(static=("config",))
class GeneratorHead:
    """The velocity of every particle feature, given time, jet features and class.

    The simple head has ``film`` and ``mlp`` in place of ``blocks``.
    """

    time: TimeEmbedding
    jet: Linear
    cond: tuple[Linear, Linear]
    label: Linear
    film: Linear | None
    mlp: Linear | None
    blocks: Block | None  # stacked along a leading axis
    norm: GroupNorm
    out: Linear
    config: PETConfig

    @classmethod
    def init(cls, key: Array, config: PETConfig) -> GeneratorHead:
        """Draw random maps."""
        channels, simple = config.hidden_channels, config.simple
        keys = jax.random.split(key, 8)
        return cls(
            time=TimeEmbedding.init(keys[0], channels, film=False),
            jet=Linear.glorot(keys[1], config.num_jet_features, channels),
            cond=two_layers(keys[2], 2 * channels, 2 * channels, channels),
            label=Linear.glorot(keys[3], config.num_classes, channels, bias=False),
            film=Linear.glorot(keys[4], channels, 2 * channels) if simple else None,
            mlp=Linear.glorot(keys[5], channels, 2 * channels) if simple else None,
            blocks=None
            if simple
            else stack_init(lambda k: Block.init(k, config), keys[6], config.num_gen_layers),
            norm=GroupNorm.init(channels),
            out=Linear.glorot(keys[7], (1 + simple) * channels, config.num_features),
            config=config,
        )

    def __call__(
        self,
        encoded: Array,
        mask: Array,
        jet: Array,
        time: Array,
        label: Array,
        *,
        key: Array | None = None,
    ) -> Array:
        """Map encoded (B, P, C), jet (B, J), time (B,), label (B, Y) to (B, P, F), 0 on padding."""
        real = mask[..., None].astype(encoded.dtype)
        rows = attended(mask, self.config)
        embedded = jnp.concatenate(
            [self.time(time).astype(encoded.dtype), gelu(self.jet(jet)).astype(encoded.dtype)], -1
        )
        condition = gelu(self.cond[1](gelu(self.cond[0](embedded)))) + self.label(label)
        tokens = condition.astype(encoded.dtype)[:, None] * real
        if self.film is not None and self.mlp is not None:
            modulated = film(self.norm(encoded, rows), gelu(self.film(tokens)))
            return self.out(gelu(self.mlp(modulated))) * real
        tokens = apply_blocks(
            self.config,
            self.blocks,
            tokens,
            key,
            lambda block, x, k: block(x, encoded, mask, rows, self.config, k)[1],
        )
        return self.out(self.norm(tokens + encoded, rows)) * real
