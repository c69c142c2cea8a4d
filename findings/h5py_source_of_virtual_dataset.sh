#!/usr/bin/env bash
# h5py 3.16.0 (HDF5 2.0.0), numpy 2.4.6: `virtual_sources()` of a virtual dataset tells the shape of a
# source that is taken whole only as long as the file stays open in which it was made. Read from the
# closed file that shape is (), though all values are there; that of a source in part stays.
#
# Seen: a whole source of 40 numbers: (40,), then (); the first 20 of them: (20,), then (20,).
#
# Exits with 0 while that is so, with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet h5py==3.16.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import h5py
import numpy as np


def seen(file):
    found = {}
    for name in ("whole", "half"):
        [source] = file[name].virtual_sources()
        found[name] = (source.src_space.shape, source.vspace.get_select_npoints())
    print(found)
    return found


with h5py.File("source.h5", "w") as file:
    file["x"] = np.arange(40.0)
with h5py.File("virtual.h5", "w") as file:
    for name, rows in (("whole", 40), ("half", 20)):
        source = h5py.VirtualSource("source.h5", "x", (40,))
        layout = h5py.VirtualLayout((rows,), "f8")
        layout[:] = source if rows == 40 else source[:rows]
        file.create_virtual_dataset(name, layout)
    before = seen(file)
with h5py.File("virtual.h5") as file:
    after = seen(file)
    right = np.array_equal(file["whole"][:], np.arange(40.0))
print("shape of the half:", before["half"][0], after["half"][0])
same = before["whole"] == ((40,), 40) and after["whole"] == ((), 40)
sys.exit(0 if same and right and before["half"][1] == after["half"][1] == 20 else 1)
PYTHON
echo "as described"
