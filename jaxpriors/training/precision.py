"""In which types a network is stored, computed and read out."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Precision:
    """Types of the parameters (and optimizer state), of the computation and of the logits.

    Norm statistics, the softmax, inner products and losses are float32 whatever ``compute`` says.
    """

    params: Literal["float32"] = "float32"
    compute: Dtype = "float32"
    output: Literal["float32"] = "float32"

    def to_compute(self, tree: Any) -> Any:
        """The tree with its floating-point arrays in the compute type."""
        return _cast(tree, self.compute)

    def to_output(self, x: Array) -> Array:
        """Logits in the output type."""
        return x.astype(self.output)


def _cast(tree: Any, dtype: str) -> Any:
    def one(x: Any) -> Any:
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, tree)
