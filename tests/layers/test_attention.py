"""Attention against a slow reference that loops over events, heads and queries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxpriors.layers.attention import Mask, attention

BATCH, QUERIES, KEYS, HEADS, CHANNELS, VALUES = 3, 5, 7, 2, 6, 4


def slow_attention(q, k, v, bias):
    """The definition, one query at a time; bias (B, H, Nq, Nk) with −inf where forbidden."""
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h, i in np.ndindex(q.shape[:3]):
        g = h if k.shape[1] > 1 else 0
        scores = k[b, g] @ q[b, h, i] / np.sqrt(q.shape[-1]) + bias[b, h, i]
        if np.isneginf(scores).all():
            continue
        weights = np.exp(scores - scores.max())
        out[b, h, i] = weights @ v[b, g] / weights.sum()
    return out


def inputs(queries=QUERIES, keys=KEYS, kv_heads=HEADS, seed=0):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(BATCH, HEADS, queries, CHANNELS))
    k = rng.normal(size=(BATCH, kv_heads, keys, CHANNELS))
    v = rng.normal(size=(BATCH, kv_heads, keys, VALUES))
    return q, k, v


def cases():
    """(name, mask, its additive form), masks of every kind."""
    rng = np.random.default_rng(1)
    full = (BATCH, HEADS, QUERIES, KEYS)
    lengths, missing = np.array([7, 3, 1]), np.array([0, 3, 0])

    def padding(lengths):
        return np.where(np.arange(KEYS) < lengths[:, None, None, None], 0.0, -np.inf)

    allowed = rng.random(full) < 0.5
    bias = rng.normal(size=(BATCH, 1, QUERIES, KEYS))
    holes = np.where(rng.random(bias.shape) < 0.4, -np.inf, bias)
    return [
        ("none", None, np.zeros(full)),
        ("empty", Mask(), np.zeros(full)),
        ("lengths", Mask(lengths=jnp.array(lengths)), padding(lengths)),
        ("no_key", Mask(lengths=jnp.array(missing)), padding(missing)),
        ("bool", Mask(dense=jnp.array(allowed)), np.where(allowed, 0.0, -np.inf)),
        ("bool_2d", Mask(dense=jnp.array(allowed[0, 0])), np.where(allowed[0, 0], 0.0, -np.inf)),
        ("additive", Mask(dense=jnp.array(bias)), bias),
        ("additive_inf", Mask(dense=jnp.array(holes)), holes),
    ]


@pytest.mark.parametrize("kv_heads", [HEADS, 1])
@pytest.mark.parametrize("case", cases(), ids=lambda c: c[0])
def test_matches_the_definition(case, kv_heads):
    _, mask, bias = case
    q, k, v = inputs(kv_heads=kv_heads)
    expected = slow_attention(q, k, v, np.broadcast_to(bias, (BATCH, HEADS, QUERIES, KEYS)))
    got = jax.jit(attention)(*(x.astype(np.float32) for x in (q, k, v)), mask)
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_packed_segments_equal_separate_events():
    q, k, v = (jnp.asarray(x[:1], jnp.float32) for x in inputs(queries=KEYS))
    segments = jnp.array([[1, 1, 1, 2, 2, 0, 0]])
    packed = jax.jit(attention)(q, k, v, Mask(segments=segments))
    for part in (slice(0, 3), slice(3, 5)):
        alone = jax.jit(attention)(q[:, :, part], k[:, :, part], v[:, :, part])
        np.testing.assert_allclose(packed[:, :, part], alone, atol=1e-6)
    assert not packed[:, :, 5:].any()


@pytest.mark.parametrize("kv_heads", [HEADS, 1])
def test_a_query_without_keys_gives_zero_and_finite_gradients(kv_heads):
    q, k, v = (jnp.asarray(x, jnp.float32) for x in inputs(kv_heads=kv_heads))
    lengths = jnp.array([0, 3, 0])

    @jax.jit
    def total(q, k, v, mask):
        out = attention(q, k, v, mask)
        return (out**2).sum(), out

    dense = (jnp.arange(KEYS) < lengths[:, None])[:, None, None, :]
    for mask in (Mask(lengths=lengths), Mask(dense=jnp.where(dense, 0.0, -jnp.inf))):
        gradients, out = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(q, k, v, mask)
        assert not out[0].any() and not out[2].any() and out[1].all()
        for gradient in gradients:
            assert jnp.isfinite(gradient).all()
            assert not gradient[0].any() and not gradient[2].any()


def test_gradients_match_finite_differences():
    with jax.enable_x64(True):
        q, k, v = (jnp.asarray(x) for x in inputs())
        mask = Mask(lengths=jnp.array([7, 3, 1]))
        check_grads(jax.jit(lambda *a: attention(*a, mask)), (q, k, v), 1, modes=["rev"])


def test_large_scores_do_not_overflow():
    q, k, v = (jnp.asarray(x, jnp.float32) for x in inputs())
    out = attention(1e3 * q, 1e3 * k, v, Mask(lengths=jnp.array([7, 3, 1])))
    assert jnp.isfinite(out).all()


def test_low_precision_keeps_the_softmax_in_float32():
    q, k, v = inputs()
    low = [jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)]
    out = attention(*low)
    assert out.dtype == jnp.bfloat16
    exact = slow_attention(*(np.asarray(x, np.float64) for x in low), np.zeros((3, 2, 5, 7)))
    np.testing.assert_allclose(np.asarray(out, np.float64), exact, atol=1.5e-2)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (Mask(lengths=jnp.zeros(2, int)), "mask.lengths has shape"),
        (Mask(segments=jnp.zeros((BATCH, QUERIES), int)), "mask.segments has shape"),
        (Mask(dense=jnp.zeros((BATCH, HEADS, KEYS, QUERIES))), "mask.dense has shape"),
        (Mask(lengths=jnp.ones(BATCH, int), dense=jnp.zeros((1, 1))), "at most one"),
    ],
)
def test_masks_that_do_not_fit_are_named(mask, message):
    with pytest.raises(ValueError, match=message):
        attention(*map(jnp.asarray, inputs()), mask)


def test_shapes_that_do_not_fit_are_named():
    q, k, v = map(jnp.asarray, inputs())
    with pytest.raises(ValueError, match="q, k, v have shapes"):
        attention(q, k[..., :3], v)
    with pytest.raises(ValueError, match="implementation is 'flash'"):
        attention(q, k, v, implementation="flash")  # type: ignore[arg-type]


@pytest.mark.parametrize("case", cases(), ids=lambda c: c[0])
def test_what_cudnn_is_given_is_even_and_means_the_same(case, monkeypatch):
    """XLA's attention in the kernel's place, which has no gradient for odd numbers of tokens."""
    plain, seen = jax.nn.dot_product_attention, []

    def instead(q, k, v, *, implementation, **masks):
        assert implementation == "cudnn" and q.shape[1] % 2 == k.shape[1] % 2 == 0
        seen.append(q.shape)
        return plain(q, k, v, implementation="xla", **masks)

    monkeypatch.setattr(jax.nn, "dot_product_attention", instead)
    rng = np.random.default_rng(2)
    shapes = [(BATCH, HEADS, QUERIES, 8), (BATCH, HEADS, KEYS, 8), (BATCH, HEADS, KEYS, 8)]
    q, k, v = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in shapes)

    def both(q, k, v, implementation):
        out = attention(q, k, v, case[1], implementation=implementation).astype("float32")
        return (out**2).sum(), out

    call = jax.grad(both, argnums=(0, 1, 2), has_aux=True)
    for fused, expected in zip(
        jax.tree.leaves(call(q, k, v, "cudnn")), jax.tree.leaves(call(q, k, v, "xla")), strict=True
    ):
        np.testing.assert_allclose(
            np.asarray(fused, np.float32), np.asarray(expected, np.float32), atol=0.06
        )
    assert len(seen) == 1


def test_cudnn_names_the_condition_that_fails():
    wide = jnp.zeros((1, 3, 2, 16))
    with pytest.raises(ValueError, match="expected bfloat16"):
        attention(wide, wide, wide, implementation="cudnn")
    odd = jnp.zeros((1, 3, 2, 12), jnp.bfloat16)
    with pytest.raises(ValueError, match="multiples of 8"):
        attention(odd, odd, odd, implementation="cudnn")
