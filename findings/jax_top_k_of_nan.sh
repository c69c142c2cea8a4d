#!/usr/bin/env bash
# jax 0.10.2, numpy 2.4.6, on CPU: `jax.lax.top_k` ranks NaN by its sign bit, above all numbers
# without it and below all with it. `jax.numpy.argsort(descending=True)` ranks both first.
#
# Seen: of [1, NaN, 3, -NaN, 2] the order is NaN, 3, 2, 1, -NaN. The NaN of a negative distance,
# `top_k(-distance)`, therefore goes to the other end than that of the distance: nearest or
# farthest.
#
# Exits with 0 while that is so, with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu venv/bin/python - <<'PYTHON'
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np

warnings.simplefilter("error")
nan = np.float32(np.nan)
values = jnp.asarray([1, np.copysign(nan, 1), 3, np.copysign(nan, -1), 2], jnp.float32)
found = jax.lax.top_k(values, 5)[1].tolist()
ordered = jnp.argsort(values, descending=True).tolist()
print("top_k:", found, "argsort, descending:", ordered)
sys.exit(0 if found == [1, 2, 4, 0, 3] and sorted(ordered[:2]) == [1, 3] else 1)
PYTHON
echo "as described"
