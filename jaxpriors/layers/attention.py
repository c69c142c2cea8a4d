"""The one scaled-dot-product attention of all networks, with padding, packing and dense masks."""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers.core import module

Implementation = Literal["xla", "cudnn"]


@module
class Mask:
    """Which keys a query may attend to; at most one field is set.

    lengths:  (B,) true number of keys; keys beyond it are padding.
    segments: (B, N) integers of packed rows: tokens attend within their own segment, 0 is padding.
    dense:    broadcastable to (B, H, Nq, Nk): bool (True = attend) or float, added to the scores
              (−inf forbids).
    """

    lengths: Array | None = None
    segments: Array | None = None
    dense: Array | None = None


def first_queries(mask: Mask | None, count: int | None) -> Mask | None:
    """Restrict a mask to the first ``count`` of the queries (None: all of them).

    Raises ValueError for packed rows, where the first tokens are those of the first event.
    """
    if mask is None or count is None or mask.lengths is not None:
        return mask
    if mask.segments is not None:
        raise ValueError("readout: found packed rows (mask.segments), expected padded events")
    dense = mask.dense
    if dense is None or dense.ndim < 2 or dense.shape[-2] == 1:
        return mask
    return Mask(dense=dense[..., :count, :])


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Mask | None = None,
    *,
    implementation: Implementation = "xla",
) -> Array:
    """Compute softmax(q kᵀ/√d + mask) v for each head, (B, H, Nq, dv).

    q is (B, H, Nq, d), k (B, H or 1, Nk, d), v (B, H or 1, Nk, dv); a single head of k and v is
    shared by all queries. The softmax runs in at least float32, the result has the dtype of v. A
    query without any allowed key gives 0. Raises ValueError on shapes that do not fit, on a mask
    with several fields set and where cuDNN cannot run.
    """
    fits = (
        q.ndim == k.ndim == v.ndim == 4
        and q.shape[0] == k.shape[0] == v.shape[0]
        and q.shape[3] == k.shape[3]
        and k.shape[1:3] == v.shape[1:3]
        and k.shape[1] in (1, q.shape[1])
    )
    if not fits:
        raise ValueError(
            f"attention: q, k, v have shapes {q.shape}, {k.shape}, {v.shape}; expected "
            "(B, H, Nq, d), (B, H or 1, Nk, d), (B, H or 1, Nk, dv)"
        )
    allowed, bias = _expand(mask, q.shape, k.shape[2])
    if implementation == "cudnn":
        _check_cudnn(q, k, v)
        if q.shape[2] > 1:  # a single query has no tile to fuse, and the kernel no gradient for it
            return _attention_cudnn(q, k, v, mask, allowed, bias)
    if implementation in get_args(Implementation):
        return _attention_xla(q, k, v, allowed, bias)
    raise ValueError(f"attention: implementation is {implementation!r}, expected 'xla' or 'cudnn'")


def _expand(
    mask: Mask | None, q_shape: tuple[int, ...], keys: int
) -> tuple[Array | None, Array | None]:
    """Return (allowed, bias): the keys of each query and what is added to the scores.

    Both broadcast to (B, H, Nq, Nk), or are None.
    """
    if mask is None:
        return None, None
    batch, heads, queries, _ = q_shape
    given = [n for n in ("lengths", "segments", "dense") if getattr(mask, n) is not None]
    if len(given) > 1:
        raise ValueError(f"attention: the mask has {given} set, expected at most one of them")
    if mask.lengths is not None:
        if mask.lengths.shape != (batch,):
            raise ValueError(
                f"attention: mask.lengths has shape {mask.lengths.shape}, expected ({batch},)"
            )
        return jnp.arange(keys) < mask.lengths[:, None, None, None], None
    if mask.segments is not None:
        if mask.segments.shape != (batch, queries) or queries != keys:
            raise ValueError(
                f"attention: mask.segments has shape {mask.segments.shape} for {queries} queries "
                f"and {keys} keys, expected ({batch}, N) with N queries and N keys"
            )
        own, other = mask.segments[:, None, :, None], mask.segments[:, None, None, :]
        return (own == other) & (other != 0), None
    if mask.dense is not None:
        full = (batch, heads, queries, keys)
        ones = (1,) * (4 - mask.dense.ndim) + mask.dense.shape
        if len(ones) != 4 or any(n not in (1, m) for n, m in zip(ones, full, strict=True)):
            raise ValueError(
                f"attention: mask.dense has shape {mask.dense.shape}, expected broadcastable to "
                f"(B, H, Nq, Nk) = {full}"
            )
        dense = mask.dense.reshape(ones)
        if dense.dtype == jnp.bool_:
            return dense, None
        allowed = dense > -jnp.inf
        return allowed, jnp.where(allowed, dense, 0)
    return None, None


def _attention_xla(
    q: Array, k: Array, v: Array, allowed: Array | None, bias: Array | None
) -> Array:
    """Multiply two matrices per head, the softmax between them, normalised after the second."""
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    if k.shape[1] == 1:
        k, v = k[:, 0], v[:, 0]
        scores_of, values_of = "bhqd,bkd->bhqk", "bhqk,bkd->bhqd"
    else:
        scores_of, values_of = "bhqd,bhkd->bhqk", "bhqk,bhkd->bhqd"
    scores = jnp.einsum(scores_of, q, k, preferred_element_type=dtype)
    if bias is not None:
        scores = scores + bias.astype(dtype)
    if allowed is not None:
        scores = jnp.where(allowed, scores, jnp.finfo(dtype).min)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    if allowed is not None:
        weights = jnp.where(allowed, weights, 0)
    total = weights.sum(-1)  # (B, H, Nq), 0 where nothing may be attended to
    out = jnp.einsum(values_of, weights.astype(v.dtype), v, preferred_element_type=dtype)
    inverse = 1 / jnp.where(total > 0, total, 1)
    return (out * inverse[..., None]).astype(v.dtype)


def _check_cudnn(q: Array, k: Array, v: Array) -> None:
    """Raise ValueError where cuDNN's fused kernel does not apply."""
    found = {str(x.dtype) for x in (q, k, v)}
    if len(found) != 1 or not found <= {"bfloat16", "float16"}:
        raise ValueError(
            f"attention: implementation 'cudnn' found dtypes {sorted(found)}, expected bfloat16 "
            "or float16 for q, k and v alike"
        )
    size = q.shape[-1]
    if size % 8 or size > 128 or v.shape[-1] != size:
        raise ValueError(
            f"attention: implementation 'cudnn' found head sizes {size} (q, k) and {v.shape[-1]} "
            "(v), expected equal multiples of 8 up to 128"
        )


def _attention_cudnn(
    q: Array,
    k: Array,
    v: Array,
    mask: Mask | None,
    allowed: Array | None,
    bias: Array | None,
) -> Array:
    """Call cuDNN's fused kernel with true lengths where these are given, else with the full mask.

    Of odd numbers of queries or keys it has no gradient, so that they are padded to even ones.
    """
    (batch, heads, queries, _), keys = q.shape, k.shape[2]
    q, k, v = (_even(x.swapaxes(1, 2), (1,)) for x in (q, k, v))  # as the kernel has them
    lengths = None if mask is None else mask.lengths
    if lengths is not None or allowed is None:
        lengths = jnp.full(batch, keys) if lengths is None else lengths
        out = jax.nn.dot_product_attention(
            q,
            k,
            v,
            # One key at least: the kernel's answer for none is not defined, and 0 replaces it.
            key_value_seq_lengths=jnp.clip(lengths, 1, keys).astype(jnp.int32),
            implementation="cudnn",
        )
        some = (lengths > 0)[:, None, None]
    else:
        shape = (batch, heads, queries, keys)
        allowed = jnp.broadcast_to(allowed, shape)
        if bias is not None:
            bias = _even(jnp.broadcast_to(bias, shape).astype(q.dtype), (2, 3))
        out = jax.nn.dot_product_attention(
            q, k, v, bias=bias, mask=_even(allowed, (2, 3)), implementation="cudnn"
        )
        some = allowed.any(-1)
    return jnp.where(some[..., None], out[:, :queries].swapaxes(1, 2), 0)


def _even(x: Array, axes: tuple[int, ...]) -> Array:
    """Append zeros to these axes of x where they are odd."""
    return jnp.pad(x, [(0, n % 2 if axis in axes else 0) for axis, n in enumerate(x.shape)])
