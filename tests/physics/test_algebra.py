"""The algebra against an independent Clifford algebra, lgatr's primitives and Lorentz maps."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors.layers import complex_grades
from jaxpriors.physics import algebra
from tests.helpers import clifford
from tests.helpers.lorentz import PARITY, random_lorentz

FIXTURES = Path(__file__).parents[1] / "fixtures" / "lgatr"


@pytest.fixture(scope="module")
def primitives():
    return np.load(FIXTURES / "primitives.npz")


@pytest.fixture(scope="module")
def boosted():
    """A rotation and boost, and what it does to multivectors."""
    matrix = random_lorentz(3)
    return matrix, clifford.outermorphism(matrix)


def test_geometric_product_is_the_product_of_sorted_words():
    unit = np.eye(16)
    table = [[clifford.product(x, y) for y in unit] for x in unit]
    assert np.array_equal(algebra.GEOMETRIC_PRODUCT, np.transpose(table, (2, 0, 1)))
    assert np.count_nonzero(algebra.GEOMETRIC_PRODUCT) == 256


def test_vectors_anticommute_to_the_metric():
    for mu in range(4):
        for nu in range(4):
            table = algebra.GEOMETRIC_PRODUCT
            anticommutator = table[:, 1 + mu, 1 + nu] + table[:, 1 + nu, 1 + mu]
            expected = np.zeros(16)
            expected[0] = 2 * algebra.METRIC[mu] * (mu == nu)
            assert np.array_equal(anticommutator, expected)


def test_tables_are_those_of_lgatr(primitives):
    assert np.array_equal(algebra.GEOMETRIC_PRODUCT, primitives["gp_tensor"])
    assert np.array_equal(algebra.INNER_PRODUCT, primitives["inner_product_factors"])
    projections = np.array([np.diag(grade == algebra.GRADES) for grade in range(5)])
    basis = np.concatenate([projections, algebra.DUAL @ projections])
    assert np.array_equal(basis, primitives["basis_subgroup"])
    assert np.array_equal(basis[:5], primitives["basis_full"])


def test_functions_compute_what_lgatr_computes(primitives):
    with jax.enable_x64(True):
        x, y, v = (jnp.asarray(primitives[name]) for name in ("x", "y", "v"))
        results = {
            "geometric_product": algebra.geometric_product(x, y),
            "inner_product": algebra.inner_product(x, y),
            "embed_vector": algebra.embed_vector(v),
            "extract_vector": algebra.extract_vector(x),
            "embed_scalar": algebra.embed_scalar(v[..., :1]),
            "extract_scalar": algebra.extract_scalar(x),
        }
        for name, result in results.items():
            np.testing.assert_allclose(result, primitives[name], rtol=0, atol=1e-12, err_msg=name)


def test_products_commute_with_lorentz_transformations(primitives, boosted):
    with jax.enable_x64(True):
        _, lorentz = boosted
        x, y = primitives["x"], primitives["y"]
        moved = [jnp.asarray(a @ lorentz.T) for a in (x, y)]
        product = np.asarray(algebra.geometric_product(jnp.asarray(x), jnp.asarray(y)))
        np.testing.assert_allclose(
            algebra.geometric_product(*moved), product @ lorentz.T, atol=1e-10
        )
        np.testing.assert_allclose(
            algebra.inner_product(*moved),
            algebra.inner_product(jnp.asarray(x), jnp.asarray(y)),
            atol=1e-10,
        )
        for basis in primitives["basis_subgroup"]:
            np.testing.assert_allclose(basis @ lorentz, lorentz @ basis, atol=1e-12)


def test_dual_changes_sign_under_parity_and_squares_to_minus_one():
    parity = clifford.outermorphism(PARITY)
    assert np.array_equal(algebra.DUAL @ algebra.DUAL, -np.eye(16))
    assert np.array_equal(algebra.DUAL @ parity, -parity @ algebra.DUAL)


def test_sectors_hold_the_same_algebra(primitives):
    with jax.enable_x64(True):
        x, y = (jnp.asarray(primitives[name])[:, None] for name in ("x", "y"))
        first, second = complex_grades.from_multivectors(x), complex_grades.from_multivectors(y)
        np.testing.assert_array_equal(complex_grades.to_multivectors(first), x)
        product = complex_grades.to_multivectors(complex_grades.geometric_product(first, second))
        np.testing.assert_allclose(product[:, 0], primitives["geometric_product"], atol=1e-12)
        norm = complex_grades.mean_abs_squared_norm(first)[:, 0, 0]
        expected = primitives["abs_squared_norm"].mean(axis=(1, 2))
        np.testing.assert_allclose(norm, expected, atol=1e-12)


def test_gradients_of_the_sparse_product_are_those_of_the_dense_one(primitives):
    with jax.enable_x64(True):
        x, y = (jnp.asarray(primitives[name])[:, None] for name in ("x", "y"))

        def sparse(x, y):
            out = complex_grades.geometric_product(*map(complex_grades.from_multivectors, (x, y)))
            return jnp.sum(jnp.sin(complex_grades.to_multivectors(out)))

        def dense(x, y):
            return jnp.sum(jnp.sin(algebra.geometric_product(x, y)))

        got = jax.jit(jax.grad(sparse, argnums=(0, 1)))(x, y)
        expected = jax.jit(jax.grad(dense, argnums=(0, 1)))(x, y)
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(g, e, atol=1e-12)


def test_reference_multivectors_are_those_of_lgatr():
    recorded = np.load(FIXTURES / "spurions.npz")
    assert len(recorded.files) == 20
    for name in recorded.files:
        beam, time, mirror = name.split("_")
        ours = algebra.reference_multivectors(
            None if beam == "None" else beam, time == "1", mirror == "1"
        )
        np.testing.assert_allclose(ours, recorded[name], atol=1e-7, err_msg=name)
        assert ours.dtype == np.float32
    with pytest.raises(ValueError, match=r"beam is 'sideways', expected None or one of"):
        algebra.reference_multivectors("sideways")
