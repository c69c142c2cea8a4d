#!/usr/bin/env bash
# safetensors 0.8.0, numpy 2.2.6: an array that is not in C order is written in the order of its
# memory under its own shape, without an error or a warning.
#
# Seen: the transpose of [[0, 1, 2], [3, 4, 5]], shape (3, 2), is written by `safetensors.numpy` and
# comes back with shape (3, 2) as [[0, 1], [2, 3], [4, 5]]; expected was [[0, 3], [1, 4], [2, 5]].
# `numpy.ascontiguousarray` before writing gives the expected values back.
#
# Exits with 0 while that is so, with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet safetensors==0.8.0 numpy==2.2.6
venv/bin/python - <<'PYTHON'
import sys
import warnings

import numpy as np
from safetensors.numpy import load_file, save_file

warnings.simplefilter("error")
transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
save_file({"as it is": transposed, "copied": np.ascontiguousarray(transposed)}, "a.safetensors")
found = load_file("a.safetensors")
print("written:  ", transposed.tolist())
print("read back:", found["as it is"].tolist())
print("copied:   ", found["copied"].tolist())
scrambled = found["as it is"].shape == (3, 2) and found["as it is"].tolist() == [
    [0, 1], [2, 3], [4, 5]
]
sys.exit(0 if scrambled and np.array_equal(found["copied"], transposed) else 1)
PYTHON
echo "as described"
