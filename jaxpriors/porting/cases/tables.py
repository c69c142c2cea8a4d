"""Recorded tables without weights: primitives of the algebra, spurions, initialisations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriors import algebra
from jaxpriors.errors import InputError
from jaxpriors.layers import lorentz, sectors
from jaxpriors.layers.attention import attention
from jaxpriors.layers.multivector import EquiLayerNorm, EquiLinear, gated
from jaxpriors.porting.cases.checks import OUTPUT_BAR, Case, Check
from jaxpriors.porting.trees import state_from_network

AXIAL_NOTE = "after undoing lgatr's sign of the y component, which is not covariant; ours is"
INIT_SIZES = {"mv": (64, 48), "s": (32, 40)}
"""Channels in and out of the layers whose initialisation is recorded."""


def verify_tables(case: Case) -> list[Check]:
    """Compare a case without a class, told by the arrays that it has."""
    names = case.arrays.keys()
    if "x" in names and "geometric_product" in names:
        return _verify_primitives(case)
    if "num" in case.table:
        return [case.check(name, _spurions(name), OUTPUT_BAR) for name in names]
    if names and all("/" in name for name in names):
        return [_verify_init(case, name) for name in names]
    raise InputError("a case without a class and not primitives, spurions or init statistics")


def _verify_primitives(case: Case) -> list[Check]:
    recorded = dict(case.arrays)
    for name, axis in (("embed_axialvector", 12), ("extract_axialvector", 2)):
        if name in recorded:  # e013, and the y of (E, px, py, pz)
            recorded[name] = recorded[name].copy()
            recorded[name][..., axis] *= -1
    case = Case(case.name, case.table, case.state, recorded)
    ours = _primitives(case.arrays)
    inputs = {"x", "y", "v", "coeffs"}
    return [
        case.check(name, ours.get(name), OUTPUT_BAR, AXIAL_NOTE if "axialvector" in name else "")
        for name in recorded
        if name not in inputs and not name.startswith(("att_q", "att_k", "att_v"))
    ]


def _primitives(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """All primitives of the recorded inputs, in float32."""
    given = {k: jnp.asarray(a, jnp.float32) for k, a in arrays.items() if a.dtype.kind == "f"}
    x, y = given["x"], given["y"]
    found = {
        "inner_product": algebra.inner_product(x, y),
        "abs_squared_norm": algebra.abs_squared_norm(x),
        "reverse": algebra.reverse(x),
        "grade_involute": algebra.grade_involute(x),
        "grade_project": algebra.grade_project(x),
        "gp_tensor": algebra.GEOMETRIC_PRODUCT,
        "basis_subgroup": algebra.equivariant_basis(True),
        "basis_full": algebra.equivariant_basis(False),
        "inner_product_factors": algebra.INNER_PRODUCT,
        "extract_scalar": algebra.extract_scalar(x),
        "extract_pseudoscalar": algebra.extract_pseudoscalar(x),
        "extract_vector": algebra.extract_vector(x),
        "extract_axialvector": algebra.extract_axial_vector(x),
    }
    inside, other = (
        sectors.from_multivectors(z.reshape(1, -1, *x.shape[-2:])) for z in (x, y)
    )  # the layers take (B, N, C, 16)
    none = jnp.zeros((*inside.scalar.shape[:2], 0))
    product = sectors.geometric_product(inside, other)
    layers = {"geometric_product": product, "equi_layer_norm": EquiLayerNorm()(inside, none)[0]}
    for name in ("relu", "sigmoid", "gelu", "silu", "tanh"):
        gate = "gelu_tanh" if name == "gelu" else name
        layers[f"gated_{name}"] = gated(inside, none, gate, name)[0]
    if "coeffs" in given:
        layers["equi_linear"] = EquiLinear(given["coeffs"])(inside, none)[0]
    for name, value in layers.items():
        flat = sectors.to_multivectors(value)
        found[name] = flat.reshape(*x.shape[:-2], *flat.shape[2:])
    if "v" in given:
        v = given["v"]
        found |= {
            "embed_vector": algebra.embed_vector(v),
            "embed_axialvector": algebra.embed_axial_vector(v),
            "embed_scalar": algebra.embed_scalar(v[..., :1]),
            "embed_pseudoscalar": algebra.embed_pseudoscalar(v[..., :1]),
        }
    if "att_q_mv" in given:
        found["att_out_mv"], found["att_out_s"] = _attention(given)
    return found


def _attention(given: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Attention of multivectors (B, H, N, C, 16) with scalars (B, H, N, S)."""
    signs = jnp.asarray(algebra.INNER_PRODUCT, jnp.float32)
    heads = []  # q, k, v as (B, H, N, 16 C + S)
    for kind in "qkv":
        mv = given[f"att_{kind}_mv"] * (signs if kind == "q" else 1)
        scalars = given[f"att_{kind}_s"]
        heads.append(jnp.concatenate([mv.reshape(*mv.shape[:3], -1), scalars], -1))
    out = attention(heads[0], heads[1], heads[2])
    shape = given["att_v_mv"].shape
    size = shape[-2] * 16
    return out[..., :size].reshape(*out.shape[:-1], shape[-2], 16), out[..., size:]


def _spurions(name: str) -> np.ndarray:
    """The reference multivectors under a recorded name <beam>_<time>_<mirror>."""
    beam, _, flags = name.partition("_")
    time, _, mirror = flags.partition("_")
    return algebra.reference_multivectors(
        None if beam == "None" else beam, time == "1", mirror == "1"
    )


def _verify_init(case: Case, name: str) -> Check:
    """[min, max, mean, std, numel] of one initialised tensor, in units of the recorded range.

    The bar is five standard deviations of the mean of numel uniform numbers, which also covers
    the other three.
    """
    layer, _, parameter = name.partition("/")
    (in_mv, out_mv), (in_s, out_s) = INIT_SIZES["mv"], INIT_SIZES["s"]
    kind, _, scheme = layer.rpartition("Linear_")
    start: Any = scheme.removesuffix("_nos")
    key = jax.random.key(0)
    if kind == "slim_":
        gain = 0.1 if scheme == "small" else 1.0
        made: Any = lorentz.Linear.init(key, in_mv, out_mv, in_s, out_s, gain=gain)
    elif scheme.endswith("_nos"):
        made = EquiLinear.init(key, in_mv, out_mv, initialization=start)
    else:
        made = EquiLinear.init(key, in_mv, out_mv, in_s, out_s, initialization=start)
    values = state_from_network(made).get(parameter)
    recorded = case.arrays[name]
    if values is None or recorded.shape != (5,):
        return case.fail(name, "we have no such array")
    low, high, _, _, count = recorded
    ours = np.array([values.min(), values.max(), values.mean(), values.std(), values.size])
    if values.size != count:
        return case.fail(name, f"our tensor has {values.size} numbers, recorded {count:.0f}")
    gap = float(np.abs(ours - recorded).max())
    error = gap / (high - low) if high > low else (0.0 if gap == 0 else float("inf"))
    return Check(
        case.name, name, error, 5 * (2 / 12 / count) ** 0.5, "statistics of random numbers"
    )
