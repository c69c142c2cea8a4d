"""In which type a network computes, and how exactly it multiplies matrices."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

Compute = Literal["float32", "tensorfloat32", "bfloat16"]

# what JAX calls the precision of products of float32 matrices; CPUs know the first alone
_PRODUCTS = {"float32": "highest", "tensorfloat32": "tensorfloat32", "bfloat16": "default"}


@dataclass(frozen=True)
class Precision:
    """The type of the computation; parameters, optimizer state and logits are float32.

    float32 is that everywhere. tensorfloat32 rounds the factors of matrix products to 10 bits on
    GPUs that can, which is what JAX does there unless it is told otherwise. In bfloat16, norm
    statistics, the softmax, inner products and losses stay float32.
    """

    compute: Compute = "float32"

    def to_compute(self, tree: Any) -> Any:
        """The tree with its floating-point arrays in the compute type."""
        dtype = "bfloat16" if self.compute == "bfloat16" else "float32"

        def one(x: Array) -> Array:
            return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

        return jax.tree.map(one, tree)

    def products(self) -> AbstractContextManager[None]:
        """The context in which a network is called, for its matrix products and their gradients."""
        return jax.default_matmul_precision(_PRODUCTS[self.compute])
