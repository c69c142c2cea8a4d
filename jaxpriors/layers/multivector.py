"""Lorentz-equivariant layers on multivector and scalar channels: the parts of L-GATr.

Every layer maps (multivectors, scalars) to (multivectors, scalars): multivectors are
``ComplexGrades`` with C channels, scalars an array (B, N, S), S = 0 where there are none.
Parameters keep the layout of the ``lgatr`` package: an equivariant map holds ten numbers per pair
of channels (five without the maps that contain the pseudoscalar). Reference: Spinner et al.,
arXiv:2405.14806.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.layers import complex_grades
from jaxpriors.layers.complex_grades import GRADE_OF_PART, HIGHEST, ComplexGrades
from jaxpriors.layers.core import ACTIVATIONS, Linear, module, uniform

State = tuple[ComplexGrades, Array]
"""Multivectors and scalars of (B, N) tokens."""

Initialization = Literal["default", "small", "unit_scalar", "almost_unit_scalar"]


class _Scales(NamedTuple):
    multivector: float  # factor of the bounds of weights to multivectors
    scalar: float  # ... to scalars
    shift: float  # mean of the bias of scalar and pseudoscalar components


_SCALES = {
    "default": _Scales(1.0, 1.0, 0.0),
    "small": _Scales(0.1, 0.1, 0.0),
    "unit_scalar": _Scales(0.1, 1.0, 1.0),
    "almost_unit_scalar": _Scales(0.5, 1.0, 1.0),
}


def _mixing(basis: int) -> np.ndarray:
    """Map stored numbers w to (complex grade, part out, part in): (3, 2, 2, basis).

    A complex grade has parts of grades g and h: [[w_g, −w_5+h], [w_5+g, w_h]], where the
    numbers 5..9 belong to multiplication by the pseudoscalar and are absent from a basis of 5.
    """
    mixing = np.zeros((3, 2, 2, 10))
    for i, (g, h) in enumerate(GRADE_OF_PART):
        mixing[i, 0, 0, g] = 1.0
        mixing[i, 0, 1, 5 + h] = -1.0
        mixing[i, 1, 0, 5 + g] = 1.0
        mixing[i, 1, 1, h] = 1.0
    return mixing[..., :basis]


@module
class EquiLinear:
    """The general equivariant linear map of multivectors and scalars.

    weight: (out, in, 10 | 5), coefficients of the projections to grades 0..4, then of the
        projections followed by multiplication with the pseudoscalar.
    s2mvs: scalars to the scalar and pseudoscalar components; rows 2c and 2c + 1 belong to channel
        c (with 5 basis elements row c alone, the scalar). None without input scalars.
    mvs2s: the same components of the input to scalars, with the same order of columns. None
        without output scalars.
    s2s: scalars to scalars, without bias. None unless both sides have scalars.
    bias: (out, 1) of the scalar components, where there are no input scalars to carry one.
    """

    weight: Array
    s2mvs: Linear | None = None
    mvs2s: Linear | None = None
    s2s: Linear | None = None
    bias: Array | None = None

    @classmethod
    def init(
        cls,
        key: Array,
        in_mv: int,
        out_mv: int,
        in_s: int | None = None,
        out_s: int | None = None,
        *,
        bias: bool = True,
        initialization: Initialization = "default",
        subgroup: bool = True,
    ) -> EquiLinear:
        """Draw uniform numbers in bounds that keep the size of activations, as ``lgatr`` 1.4.

        ``scale_scalar_weights`` turns them into those of 2.0. None and 0 scalars differ in one
        point: None gives a bias of the scalar components, 0 does not. ``subgroup`` False restricts
        to maps that commute with parity and time reversal.
        """
        factor = _SCALES[initialization]
        basis, parts = (10, 2) if subgroup else (5, 1)
        inputs, outputs = in_s or 0, out_s or 0
        keys = jax.random.split(key, 6)

        weight = uniform(keys[0], (out_mv, in_mv, basis), factor.multivector * in_mv**-0.5)

        s2mvs = mvs2s = s2s = None
        if inputs:
            s2mvs = Linear(
                uniform(
                    keys[1], (parts * out_mv, inputs), factor.multivector * (2 * inputs) ** -0.5
                ),
                uniform(keys[2], (parts * out_mv,), (inputs + in_mv) ** -0.5, factor.shift)
                if bias
                else None,
            )
        if outputs:
            fan_in = parts * in_mv
            maps = 2 if inputs else 1
            mvs2s = Linear(
                uniform(keys[3], (outputs, fan_in), factor.scalar * (maps * fan_in) ** -0.5),
                uniform(keys[4], (outputs,), factor.scalar * (fan_in + inputs) ** -0.5)
                if bias
                else None,
            )
        if inputs and outputs:
            s2s = Linear(uniform(keys[5], (outputs, inputs), factor.scalar * (2 * inputs) ** -0.5))
        return cls(
            weight,
            s2mvs,
            mvs2s,
            s2s,
            jnp.zeros((out_mv, 1)) if bias and in_s is None else None,
        )

    def __call__(self, x: ComplexGrades, s: Array) -> State:
        """Map (B, N) tokens: multivectors with in channels, scalars in_s, to out and out_s."""
        y, t = self.split_heads(x, s, 1, 1)
        return (
            ComplexGrades(
                jnp.squeeze(y.scalar, 2), jnp.squeeze(y.vector, 3), jnp.squeeze(y.bivector, 3)
            ),
            jnp.squeeze(t, 2),
        )

    def split_heads(self, x: ComplexGrades, s: Array, parts: int, heads: int) -> State:
        """Apply the map; sort its output channels, stored in the order (part, hidden, head).

        The results have an axis of ``parts · heads`` heads; scalars are (B, N, heads, S). There is
        one matrix product per complex grade.
        """
        batch, tokens, _, inputs = x.scalar.shape
        outputs, groups = self.weight.shape[0], parts * heads
        mixing = jnp.asarray(_mixing(self.weight.shape[-1]), self.weight.dtype)
        weight = self.weight.reshape(parts, -1, heads, *self.weight.shape[1:])
        dense = jnp.einsum("pchia,xqra->xriphqc", weight, mixing, precision=HIGHEST)
        dense = dense.reshape(3, 2 * inputs, 2 * outputs)

        flat = jnp.concatenate([s, x.scalar.reshape(batch, tokens, 2 * inputs)], axis=-1)
        flat = _matmul(flat, self._scalar_weight(dense[0], s.shape[-1], parts, heads))
        bias = self._scalar_bias(parts, heads)
        if bias is not None:
            flat = flat + bias
        t, scalar = jnp.split(flat, [flat.shape[-1] - 2 * outputs], axis=-1)
        vector = _matmul(x.vector.reshape(batch, tokens, 4, 2 * inputs), dense[1])
        bivector = _matmul(x.bivector.reshape(batch, tokens, 3, 2 * inputs), dense[2])

        shape = (groups, 2, outputs // groups)
        return (
            ComplexGrades(
                scalar.reshape(batch, tokens, *shape),
                vector.reshape(batch, tokens, 4, *shape),
                bivector.reshape(batch, tokens, 3, *shape),
            ),
            t.reshape(batch, tokens, groups, t.shape[-1] // groups),
        )

    def _scalar_weight(self, dense: Array, scalars: int, parts: int, heads: int) -> Array:
        """Join scalars and scalar components in one map: (S + 2 in, out_s + 2 out)."""
        out_mv, in_mv, basis = self.weight.shape
        out_s = 0 if self.mvs2s is None else self.mvs2s.weight.shape[0]
        stored = 2 if basis == 10 else 1
        s2mvs = jnp.zeros((scalars, 2 * out_mv), dense.dtype)
        mvs2s = jnp.zeros((2 * in_mv, out_s), dense.dtype)
        s2s = jnp.zeros((scalars, out_s), dense.dtype)
        if self.s2mvs is not None:
            rows = self.s2mvs.weight.reshape(parts, -1, heads, stored, scalars)
            rows = _pad_pseudoscalar(rows, axis=3)
            s2mvs = rows.transpose(4, 0, 2, 3, 1).reshape(scalars, 2 * out_mv)
        if self.mvs2s is not None:
            columns = self.mvs2s.weight.reshape(parts, -1, heads, in_mv, stored)
            columns = _pad_pseudoscalar(columns, axis=4)
            mvs2s = columns.transpose(4, 3, 0, 2, 1).reshape(2 * in_mv, out_s)
        if self.s2s is not None:
            rows = self.s2s.weight.reshape(parts, out_s // (parts * heads), heads, scalars)
            s2s = rows.transpose(3, 0, 2, 1).reshape(scalars, out_s)
        return jnp.concatenate(
            [jnp.concatenate([s2s, s2mvs], axis=1), jnp.concatenate([mvs2s, dense], axis=1)]
        )

    def _scalar_bias(self, parts: int, heads: int) -> Array | None:
        """Join all biases: (out_s + 2 out,) or None."""
        out_mv, _, basis = self.weight.shape
        stored = 2 if basis == 10 else 1
        to_s = None if self.mvs2s is None else self.mvs2s.bias
        to_mv = self.bias if self.s2mvs is None else self.s2mvs.bias
        if to_s is None and to_mv is None:
            return None
        if to_s is None:
            to_s = jnp.zeros(
                0 if self.mvs2s is None else self.mvs2s.weight.shape[0], self.weight.dtype
            )
        else:
            to_s = to_s.reshape(parts, -1, heads).swapaxes(1, 2).reshape(-1)
        if to_mv is None:
            to_mv = jnp.zeros(2 * out_mv, self.weight.dtype)
        else:
            to_mv = to_mv.reshape(parts, -1, heads, stored if self.s2mvs is not None else 1)
            to_mv = _pad_pseudoscalar(to_mv, axis=3).transpose(0, 2, 3, 1).reshape(-1)
        return jnp.concatenate([to_s, to_mv])


def _pad_pseudoscalar(x: Array, axis: int) -> Array:
    """Append zeros for the pseudoscalar where ``axis`` holds the scalar alone."""
    if x.shape[axis] == 2:
        return x
    return jnp.concatenate([x, jnp.zeros_like(x)], axis=axis)


def _matmul(x: Array, weight: Array) -> Array:
    """Multiply x (..., in) by (in, out), with the tokens in one axis."""
    y = x.reshape(-1, x.shape[-1]) @ weight
    return y.reshape(*x.shape[:-1], weight.shape[-1])


@module
class EquiLayerNorm:
    """Multivectors divided by their mean absolute squared norm's root, scalars by layer norm.

    weight_mv: (C, 5) factors of the grades, weight_s: (S,) factors, or None. The statistics
    over the last axis are at least float32.
    """

    weight_mv: Array | None = None
    weight_s: Array | None = None

    @classmethod
    def init(cls, mv: int, s: int, *, elementwise_affine: bool) -> EquiLayerNorm:
        """Start with factors of one, or none."""
        return cls(jnp.ones((mv, 5)), jnp.ones(s)) if elementwise_affine else cls()

    def __call__(self, x: ComplexGrades, s: Array) -> State:
        """Normalise; the shapes stay those of the inputs."""
        norm = complex_grades.mean_abs_squared_norm(x)
        factor = jax.lax.rsqrt(jnp.maximum(norm, _MINIMAL_NORM))
        x = complex_grades.scale(x, factor.astype(x.scalar.dtype))
        s = _layer_norm(s)
        if self.weight_mv is not None:
            grades = jnp.asarray(np.eye(5)[GRADE_OF_PART], self.weight_mv.dtype)
            by_part = jnp.einsum("xqg,cg->xqc", grades, self.weight_mv, precision=HIGHEST)
            x = ComplexGrades(x.scalar * by_part[0], x.vector * by_part[1], x.bivector * by_part[2])
        if self.weight_s is not None:
            s = s * self.weight_s
        return x, s


_MINIMAL_NORM = 0.01


def _layer_norm(s: Array) -> Array:
    """Compute (s − mean)/√(variance + 1e-5) over the last axis."""
    if s.shape[-1] == 0:
        return s
    t = s.astype(jnp.promote_types(s.dtype, jnp.float32))
    t = t - jnp.mean(t, axis=-1, keepdims=True)
    t = t * jax.lax.rsqrt(jnp.mean(t * t, axis=-1, keepdims=True) + 1e-5)
    return t.astype(s.dtype)


def gated(x: ComplexGrades, s: Array, gate: str, scalar: str) -> State:
    """Multiply each multivector by ``gate`` of its scalar component; apply ``scalar`` to scalars.

    Both are names in ``jaxpriors.layers.core.ACTIVATIONS``.
    """
    return complex_grades.scale(x, ACTIVATIONS[gate](x.scalar[:, :, 0])), ACTIVATIONS[scalar](s)


@module(static=("bivector",))
class GeometricBilinear:
    """Geometric products of two linear maps of the input, mixed by a third and normalised.

    ``bivector`` False removes grade 2 of the products.
    """

    linear_left: EquiLinear
    linear_right: EquiLinear
    linear_out: EquiLinear
    bivector: bool = True

    @classmethod
    def init(
        cls,
        key: Array,
        in_mv: int,
        out_mv: int,
        in_s: int | None,
        out_s: int | None,
        *,
        hidden_mv: int | None = None,
        subgroup: bool = True,
        bivector: bool = True,
    ) -> GeometricBilinear:
        """Draw maps for ``hidden_mv`` products, ``out_mv`` of them by default."""
        left, right, out = jax.random.split(key, 3)
        hidden = out_mv if hidden_mv is None else hidden_mv
        return cls(
            EquiLinear.init(left, in_mv, hidden, in_s, subgroup=subgroup),
            EquiLinear.init(
                right,
                in_mv,
                hidden,
                in_s,
                initialization="almost_unit_scalar",
                subgroup=subgroup,
            ),
            EquiLinear.init(out, hidden, out_mv, in_s, out_s, subgroup=subgroup),
            bivector,
        )

    def __call__(self, x: ComplexGrades, s: Array) -> State:
        """Map multivectors with in channels, scalars (B, N, in_s) to out and out_s channels."""
        left, _ = self.linear_left(x, s)
        right, _ = self.linear_right(x, s)
        product = complex_grades.geometric_product(left, right)
        if not self.bivector:
            product = dataclasses.replace(product, bivector=jnp.zeros_like(product.bivector))
        return EquiLayerNorm()(*self.linear_out(product, s))


@module(static=("gate", "scalar_activation", "dropout_prob"))
class GeoMLP:
    """A geometric bilinear layer, then linear maps, each after the gated nonlinearity.

    Without the geometric product ``layers[0]`` is a linear map like the others. ``dropout_prob``
    None is 0, and no dropout modules are counted in the names of a state dict.
    """

    layers: tuple[GeometricBilinear | EquiLinear, ...]
    gate: str
    scalar_activation: str
    dropout_prob: float | None = None

    @classmethod
    def init(
        cls,
        key: Array,
        mv: int,
        s: int | None,
        *,
        ratio: int,
        num_layers: int,
        gate: str,
        scalar_activation: str,
        dropout_prob: float | None = None,
        subgroup: bool = True,
        bivector: bool = True,
        geometric_product: bool = True,
    ) -> GeoMLP:
        """Draw ``num_layers`` layers with ``ratio`` times the channels between them."""
        mv_sizes = [mv, *[ratio * mv] * (num_layers - 1), mv]
        s_sizes = [s, *[None if s is None else ratio * s] * (num_layers - 1), s]
        layers: list[GeometricBilinear | EquiLinear] = []
        for i, layer_key in enumerate(jax.random.split(key, num_layers)):
            sizes = (mv_sizes[i], mv_sizes[i + 1], s_sizes[i], s_sizes[i + 1])
            if i == 0 and geometric_product:
                layers.append(
                    GeometricBilinear.init(layer_key, *sizes, subgroup=subgroup, bivector=bivector)
                )
            else:
                layers.append(EquiLinear.init(layer_key, *sizes, subgroup=subgroup))
        return cls(tuple(layers), gate, scalar_activation, dropout_prob)

    def __call__(self, x: ComplexGrades, s: Array, *, key: Array | None = None) -> State:
        """Apply the layers; the shapes stay those of the inputs. ``key`` switches dropout on."""
        for i, layer in enumerate(self.layers):
            if isinstance(layer, EquiLinear):
                x, s = gated(x, s, self.gate, self.scalar_activation)
            x, s = layer(x, s)
            layer_key = None if key is None else jax.random.fold_in(key, i)
            x, s = complex_grades.dropout(layer_key, x, s, self.dropout_prob or 0.0)
        return x, s
