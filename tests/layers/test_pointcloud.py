"""Neighbours are the nearest ones, and the edge convolution is its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jaxpriors.layers.pointcloud import (
    EdgeConvolution,
    nearest_real,
    nearest_shifted,
    squared_distances,
)

ROWS = jnp.tile(jnp.arange(7), (3, 1))
HOLES = np.array([[1, 0, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 1, 0, 0]], bool)


@pytest.fixture
def points(request):
    """(3, 7, D) in float32."""
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(3, 7, request.param)), jnp.float32)


@pytest.mark.parametrize("points", [2, 16], indirect=True)
def test_distances_are_those_of_differences(points):
    naive = ((points[:, :, None] - points[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(points, points), naive, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("points", [2, 16], indirect=True)
def test_nearest_real_are_the_nearest_other_real_particles(points):
    index, valid = nearest_real(points, jnp.asarray(HOLES), 3, ROWS)
    assert index.shape == valid.shape == (3, 7, 3)
    distance = np.asarray(((points[:, :, None] - points[:, None]) ** 2).sum(-1))
    for event, i in np.argwhere(HOLES):
        others = [j for j in np.flatnonzero(HOLES[event]) if j != i]
        expected = sorted(others, key=lambda j: distance[event, i, j])[:3]
        found = np.asarray(index[event, i])[np.asarray(valid[event, i])]
        assert found.tolist() == expected


def test_equally_far_particles_are_taken_in_the_order():
    """Five in one place among seven, wherever they stand: the two that the order has first."""
    points = jnp.zeros((3, 7, 2)).at[:, 5:].set(9.0)
    order = jnp.array([[3, 6, 5, 1, 0, 2, 4], [4, 3, 2, 1, 0, 6, 5], [0, 1, 2, 3, 4, 5, 6]])
    index, valid = nearest_real(points, jnp.ones((3, 7), bool), 2, order)
    assert valid.all()
    np.testing.assert_array_equal(index[:, 0], [[3, 1], [4, 3], [1, 2]])
    np.testing.assert_array_equal(index[:, 4], [[3, 1], [3, 2], [0, 1]])


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("points", [2, 16], indirect=True)
def test_a_row_that_is_not_a_number_is_nobodys_neighbour(points, sign):
    """In jax 0.10.2, top_k ranks NaN above all numbers, and below all if its sign bit is set."""
    nan = np.copysign(np.float32(np.nan), np.float32(sign))
    bad, mask = points.at[:, 3, 0].set(nan), jnp.asarray(HOLES).at[:, 3].set(False)
    without = nearest_real(points, mask, 2, ROWS)
    index, valid = nearest_real(bad, jnp.asarray(HOLES), 2, ROWS)
    others = np.array([0, 1, 2, 4, 5, 6])
    np.testing.assert_array_equal(valid[:, others], without[1][:, others])
    kept = np.asarray(valid[:, others])
    np.testing.assert_array_equal(
        np.asarray(index[:, others])[kept], np.asarray(without[0][:, others])[kept]
    )
    assert not valid[:, 3].any()
    shifted = nearest_shifted(bad, jnp.ones((3, 7), bool), 5)
    assert not np.any(np.asarray(shifted[:, others]) == 3)


def test_more_neighbours_than_rows():
    index, valid = nearest_real(jnp.zeros((1, 2, 2)), jnp.ones((1, 2), bool), 10, ROWS[:1, :2])
    assert index.shape == (1, 2, 2)
    assert valid.sum(-1).tolist() == [[1, 1]]


@pytest.mark.parametrize("points", [2, 16], indirect=True)
def test_nearest_shifted_moves_padding_far_away(points):
    index = nearest_shifted(points, jnp.asarray(HOLES), 4)
    moved = np.asarray(points, np.float64) + 999.0 * ~HOLES[..., None]
    distance = ((moved[:, :, None] - moved[:, None]) ** 2).sum(-1)
    np.testing.assert_array_equal(index, np.argsort(distance, -1, kind="stable")[..., :5])


def test_nearest_shifted_needs_enough_rows():
    with pytest.raises(ValueError, match=r"found 4 rows .* expected at least 5"):
        nearest_shifted(jnp.zeros((1, 4, 2)), jnp.ones((1, 4), bool), 4)


def naive_edge_convolution(layer, features, index, valid):
    """The definition, particle by particle."""
    features, index, valid = map(np.asarray, (features, index, valid))
    batch, rows, _ = features.shape
    out = np.zeros((batch, rows, layer.layers[1].weight.shape[0]))
    for b in range(batch):
        for i in range(rows):
            f, chosen = features[b], index[b, i][valid[b, i]]
            edges = np.concatenate([f[chosen] - f[i], np.tile(f[i], (len(chosen), 1))], -1)
            for linear in layer.layers:
                edges = edges @ np.asarray(linear.weight).T + np.asarray(linear.bias)
                edges = 0.5 * edges * (1 + erf(edges / np.sqrt(2)))
            if len(chosen):
                out[b, i] = edges.mean(0)
    return out


@pytest.mark.parametrize("points", [5], indirect=True)
def test_edge_convolution_is_its_definition(points):
    layer = EdgeConvolution.init(jax.random.key(1), 5, 4)
    layer = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(2), a.shape), layer)
    index, valid = nearest_real(points, jnp.asarray(HOLES), 3, ROWS)
    expected = naive_edge_convolution(layer, points, index, valid)
    np.testing.assert_allclose(layer(points, index, valid), expected, atol=2e-6)
    whole = naive_edge_convolution(layer, points, index, np.ones_like(valid))
    np.testing.assert_allclose(layer(points, index), whole, atol=2e-6)


def test_edge_convolution_without_neighbours_is_zero():
    layer = EdgeConvolution.init(jax.random.key(1), 2, 4)
    alone = jnp.array([[False, True, False]])
    index, valid = nearest_real(jnp.ones((1, 3, 2)), alone, 2, ROWS[:1, :3])
    assert not layer(jnp.ones((1, 3, 2)), index, valid)[0, 1].any()
