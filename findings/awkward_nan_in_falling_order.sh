#!/usr/bin/env bash
# awkward 2.14.0, numpy 2.4.6: `ak.sort` and `ak.argsort` put NaN first in both directions, where
# numpy puts it last; `ak.argmax` passes over it.
#
# Seen: of [[1, NaN, 3]], `ak.argsort(..., ascending=False)` is [[1, 2, 0]], so that the first of a
# falling order, the "leading" one, is the entry that is not a number; `ak.argmax(..., axis=1)` is
# [2]. Rising order begins with NaN as well; `numpy.sort` gives [1, 3, NaN].
#
# Exits with 0 while that is so, with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet awkward==2.14.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
import warnings

import awkward as ak
import numpy as np

warnings.simplefilter("error")
values = ak.Array([[1.0, np.nan, 3.0]])
falling = ak.argsort(values, axis=1, ascending=False).to_list()
rising = ak.argsort(values, axis=1, ascending=True).to_list()
largest = ak.argmax(values, axis=1).to_list()
of_numpy = np.argsort(values[0].to_numpy()).tolist()
print("falling:", falling, "rising:", rising, "argmax:", largest, "numpy, rising:", of_numpy)
same = falling == [[1, 2, 0]] and rising == [[1, 0, 2]] and largest == [2] and of_numpy == [0, 2, 1]
sys.exit(0 if same else 1)
PYTHON
echo "as described"
