#!/usr/bin/env bash
# awkward 2.14.0, pyarrow 26.0.1, numpy 2.4.6: `ak.drop_none` raises KeyError for lists with offsets
# of 32 bits, as pyarrow makes them, if their entries may be missing.
#
# Seen: `ak.drop_none` of `ak.from_arrow(pyarrow.array([[1.0, None], [2.0]]))`, with axis=None and
# axis=1, raises KeyError ('awkward_ListOffsetArray_drop_none_indexes', ..., numpy.int32). It does
# so without a missing entry as well, and for arrays of `ak.from_parquet`. From pyarrow's
# `large_list`, offsets of 64 bits, it gives [[1], [2]]; so it does after `ak.to_packed`.
#
# Exits with 0 while that is so, with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet awkward==2.14.0 pyarrow==26.0.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
import warnings

import awkward as ak
import pyarrow as pa
import pyarrow.parquet as pq

warnings.simplefilter("error")
missing, complete = pa.array([[1.0, None], [2.0]]), pa.array([[1.0], [2.0]])
pq.write_table(pa.table({"pt": missing}), "a.parquet")
arrays = {
    "list": ak.from_arrow(missing),
    "list, none missing": ak.from_arrow(complete),
    "parquet": ak.from_parquet("a.parquet")["pt"],
    "large_list": ak.from_arrow(missing.cast(pa.large_list(pa.float64()))),
    "packed": ak.to_packed(ak.from_arrow(missing)),
}
found = {}
for name, array in arrays.items():
    assert ak.is_valid(array)
    found[name] = []
    for axis in (None, 1):
        try:
            found[name].append(ak.drop_none(array, axis=axis).to_list())
        except KeyError as error:
            found[name].append("KeyError" if "numpy.int32" in str(error) else str(error))
    print(f"{name}:", found[name])
refused, given = ["KeyError"] * 2, [[[1.0], [2.0]]] * 2
expected = dict.fromkeys(arrays, refused) | {"large_list": given, "packed": given}
sys.exit(0 if found == expected else 1)
PYTHON
echo "as described"
