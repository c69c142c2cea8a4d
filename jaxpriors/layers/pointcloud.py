"""Point clouds: nearest neighbours and the edge convolution over them.

Axes: B events, P particles, K neighbours. Edge convolutions: Wang et al., arXiv:1801.07829.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers.core import Linear, gelu, module

FAR = 999.0  # by how much OmniLearn shifts every coordinate of padding


def squared_distances(points: Array) -> Array:
    """|pᵢ − pⱼ|² of points (B, P, D) as (B, P, P), at least in float32."""
    p = points.astype(jnp.promote_types(points.dtype, jnp.float32))
    if p.shape[-1] <= 4:
        return sum((x[:, :, None] - x[:, None]) ** 2 for x in jnp.moveaxis(p, -1, 0))
    square = (p * p).sum(-1)
    # in full precision also where matrix products are faster with less: neighbours are close
    product = jnp.einsum("bid,bjd->bij", p, p, precision=jax.lax.Precision.HIGHEST)
    return square[:, :, None] - 2 * product + square[:, None]


def nearest_real(points: Array, mask: Array, count: int) -> tuple[Array, Array]:
    """The nearest other particles among the real ones: index and valid, both (B, P, K).

    points (B, P, D), mask (B, P) bool; K is count, or P if that is less. Where an event has fewer
    other particles, the last entries are not valid.
    """
    size = mask.shape[1]
    allowed = mask[:, None] & ~jnp.eye(size, dtype=bool)
    distance = jnp.where(allowed, squared_distances(jax.lax.stop_gradient(points)), jnp.inf)
    found, index = jax.lax.top_k(-distance, min(count, size))
    return index, found > -jnp.inf


def nearest_shifted(points: Array, mask: Array, count: int) -> Array:
    """Indices (B, P, count + 1) of the nearest rows, padding included, the row itself first.

    Every coordinate of a padded row is ``FAR`` larger, as in OmniLearn: among themselves padded
    rows are as close as their points. Raises ValueError where there are fewer than count + 1 rows.
    """
    size, dimension = points.shape[1:]
    if size <= count:
        raise ValueError(
            f"mode 'omnilearn' with {count} neighbours: found {size} rows of particles and "
            f"padding, expected at least {count + 1}"
        )
    points = jax.lax.stop_gradient(points)
    total = points.astype(jnp.promote_types(points.dtype, jnp.float32)).sum(-1)
    shift = jnp.where(mask, 0.0, FAR).astype(total.dtype)
    by = shift[:, :, None] - shift[:, None]
    across = total[:, :, None] - total[:, None]
    distance = squared_distances(points) + 2 * by * across + dimension * by * by
    return jax.lax.top_k(-distance, count + 1)[1]


@module
class EdgeConvolution:
    """The mean over neighbours j of g(W₁ g(W₀ [fⱼ − fᵢ, fᵢ] + b₀) + b₁), with g = gelu.

    ``layers[0]`` holds W₀ (2C, 2D) in one piece; it acts before the neighbours are gathered, as
    A fⱼ + (B − A) fᵢ with W₀ = [A, B].
    """

    layers: tuple[Linear, Linear]

    @classmethod
    def init(cls, key: Array, inputs: int, channels: int) -> EdgeConvolution:
        """From D = inputs features to C = channels."""
        keys = jax.random.split(key)
        first = Linear.glorot(keys[0], 2 * inputs, 2 * channels)
        return cls((first, Linear.glorot(keys[1], 2 * channels, channels)))

    def __call__(self, features: Array, index: Array, valid: Array | None = None) -> Array:
        """(B, P, C) of features (B, P, D), neighbours (B, P, K) and which of them count.

        Without any valid neighbour the result is zero.
        """
        first, second = self.layers
        difference, own = jnp.split(first.weight, 2, axis=1)
        centre = Linear(own - difference, first.bias)(features)
        neighbour = jax.vmap(lambda rows, i: rows[i])(Linear(difference)(features), index)
        edges = gelu(second(gelu(centre[:, :, None] + neighbour)))
        if valid is None:
            return edges.mean(2)
        count = jnp.maximum(valid.sum(2), 1).astype(edges.dtype)
        return jnp.where(valid[..., None], edges, 0).sum(2) / count[..., None]
