#!/usr/bin/env bash
# uproot 5.7.7, awkward 2.14.0, numpy 2.4.6: `arrays` and `iterate` of an RNTuple accept `cut` and
# ignore it; of a TTree with the same content they apply it.
#
# Seen: of pt = 0, 1, 2, 3, 4 with cut="pt > 2", the tree gives 3 and 4, the RNTuple all five, with
# neither an error nor a warning.
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

import numpy as np
import uproot

warnings.simplefilter("error")
pt = np.arange(5.0)
with uproot.recreate("a.root") as file:
    file.mktree("tree", {"pt": pt.dtype})
    file["tree"].extend({"pt": pt})
    file.mkrntuple("tuple", {"pt": pt})
found = {}
with uproot.open("a.root") as file:
    for name in ("tree", "tuple"):
        arrays = file[name].arrays(["pt"], cut="pt > 2")["pt"].to_list()
        blocks = [block["pt"].to_list() for block in file[name].iterate(["pt"], cut="pt > 2")]
        found[name] = [arrays, sum(blocks, [])]
        print(name, found[name])
kept, every = [3.0, 4.0], pt.tolist()
sys.exit(0 if found == {"tree": [kept, kept], "tuple": [every, every]} else 1)
PYTHON
echo "as described"
