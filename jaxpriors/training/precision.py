"""In which type a network computes."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

Compute = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Precision:
    """The type of the computation; parameters, optimizer state and logits are float32.

    Norm statistics, the softmax, inner products and losses are float32 whatever ``compute`` says.
    """

    compute: Compute = "float32"

    def to_compute(self, tree: Any) -> Any:
        """The tree with its floating-point arrays in the compute type."""

        def one(x: Array) -> Array:
            return x.astype(self.compute) if jnp.issubdtype(x.dtype, jnp.floating) else x

        return jax.tree.map(one, tree)
