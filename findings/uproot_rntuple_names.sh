#!/usr/bin/env bash
# uproot 5.7.7, awkward 2.14.0, numpy 2.4.6: `arrays` and `iterate` of an RNTuple return, beside the
# outer field of the given name, every record that has a field of this name.
#
# Seen: of an RNTuple with pt, w and Jet, lists of records {pt, eta}, `arrays(["pt", "w"])` has the
# fields Jet, pt and w, where Jet has its pt alone. `["pt"]` is the outer field alone. The regular
# expression "/^pt$/" gives Jet as well; `filter_field` with the field's path gives pt and w alone.
#
# Exits with 0 while that is so, with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet uproot==5.7.7 awkward==2.14.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
import warnings

import awkward as ak
import numpy as np
import uproot

warnings.simplefilter("error")
jets = ak.Array([[{"pt": 10.0, "eta": 0.1}], [{"pt": 20.0, "eta": 0.2}, {"pt": 30.0, "eta": 0.3}]])
with uproot.recreate("a.root") as file:
    file.mkrntuple("events", {"pt": np.array([1.0, 2.0]), "w": np.ones(2), "Jet": jets})
with uproot.open("a.root") as file:
    events = file["events"]
    both = events.arrays(["pt", "w"])
    blocks = [block.fields for block in events.iterate(["pt", "w"])]
    expression = events.arrays(filter_name="/^pt$/").fields
    by_path = events.arrays(filter_field=lambda field: field.path in ("pt", "w")).fields
    outer = events["pt"].array().to_list()
print('arrays(["pt", "w"]):', both.type, "iterate:", blocks)
print('"/^pt$/":', expression, "filter_field:", by_path, '["pt"]:', outer)
names = ["Jet", "pt", "w"]
same = (
    sorted(both.fields) == names and both["Jet"].fields == ["pt"]
    and [sorted(block) for block in blocks] == [names]
    and sorted(expression) == ["Jet", "pt"] and sorted(by_path) == ["pt", "w"]
    and outer == [1.0, 2.0]
)
sys.exit(0 if same else 1)
PYTHON
echo "as described"
