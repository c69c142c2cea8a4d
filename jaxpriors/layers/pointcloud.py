"""Point clouds: nearest neighbours and the edge convolution over them.

Axes: B events, P particles, K neighbours. Edge convolutions: Wang et al., arXiv:1801.07829.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers.core import Linear, gelu, module

HIGHEST = jax.lax.Precision.HIGHEST
FAR = 999.0  # by how much OmniLearn shifts every coordinate of padding


def squared_distances(points: Array, others: Array) -> Array:
    """Compute |pᵢ − qⱼ|² of points (B, P, D), others (B, Q, D): (B, P, Q), at least float32."""
    p, q = (x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in (points, others))
    if p.shape[-1] <= 4:
        columns = zip(jnp.moveaxis(p, -1, 0), jnp.moveaxis(q, -1, 0), strict=True)
        return sum((x[:, :, None] - y[:, None]) ** 2 for x, y in columns)
    # full precision even where matrix products are faster with less: neighbours are close
    product = jnp.einsum("bid,bjd->bij", p, q, precision=HIGHEST)
    return (p * p).sum(-1)[:, :, None] - 2 * product + (q * q).sum(-1)[:, None]


def nearest_real(points: Array, mask: Array, count: int, order: Array) -> tuple[Array, Array]:
    """Find the nearest other real particles: index and valid, both (B, P, K).

    points (B, P, D), mask (B, P) bool; K is count, or P if that is less. Where an event has fewer
    other particles, the last entries are not valid. Measured directions are coarse: particles that
    are equally far come in the order of ``order`` (B, P), a permutation of the rows. A row with NaN
    is nobody's neighbour and has none: ``top_k`` would rank it first or last, by its sign bit.
    """
    size = mask.shape[1]
    points = jax.lax.stop_gradient(points)
    others, real = (jax.vmap(lambda rows, i: rows[i])(x, order) for x in (points, mask))
    allowed = real[:, None] & (order[:, None] != jnp.arange(size)[:, None])
    distance = squared_distances(points, others)
    distance = jnp.where(allowed & ~jnp.isnan(distance), distance, jnp.inf)
    found, place = jax.lax.top_k(-distance, min(count, size))
    return jax.vmap(lambda rows, i: rows[i])(order, place), found > -jnp.inf


def nearest_shifted(points: Array, mask: Array, count: int) -> Array:
    """Find indices (B, P, count + 1) of the nearest rows, with padding, the row itself first.

    Every coordinate of a padded row is ``FAR`` larger, as in OmniLearn: among themselves padded
    rows are as close as their points; a row with NaN is the farthest of all. Raises ValueError
    where there are fewer than count + 1 rows.
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
    distance = squared_distances(points, points) + 2 * by * across + dimension * by * by
    distance = jnp.where(jnp.isnan(distance), jnp.inf, distance)
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
        """Draw maps from D = inputs features to C = channels."""
        keys = jax.random.split(key)
        first = Linear.glorot(keys[0], 2 * inputs, 2 * channels)
        return cls((first, Linear.glorot(keys[1], 2 * channels, channels)))

    def __call__(self, features: Array, index: Array, valid: Array | None = None) -> Array:
        """Convolve features (B, P, D) over neighbours (B, P, K), those that are valid: (B, P, C).

        Without any valid neighbour the result is zero.
        """
        first, second = self.layers
        difference, own = jnp.split(first.weight, 2, axis=1)
        centre = Linear(own - difference, first.bias)(features)
        neighbour = jax.vmap(lambda rows, i: rows[i])(Linear(difference)(features), index)
        edges = gelu(second(gelu(centre[:, :, None] + neighbour)))
        if valid is None:
            return edges.mean(2)
        # as a product of matrices: faster on CPUs than to mask and add
        total = jnp.einsum("bpkc,bpk->bpc", edges, valid.astype(edges.dtype), precision=HIGHEST)
        return total / jnp.maximum(valid.sum(2), 1).astype(edges.dtype)[..., None]
