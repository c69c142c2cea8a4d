#!/usr/bin/env bash
# pythia8mc 8.317.2: variations of the shower that are not there have a weight of 1 or none at all,
# without an error.
#
# Seen: with `UncertaintyBands:List = {a fsr:muRfac=0.5}` the default shower gives weights "a" that
# vary. With `PartonShowers:model = 2` (VINCIA) `readString` and `init` return True as well, and
# there is a single weight, "Weight", of 1. With the misspelt `fsr:muRfa=0.5` the default shower
# returns True, and "a" is 1 in every event.
#
# Exits with 0 while that is so, with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet pythia8mc==8.317.2
cat > run.py <<'PYTHON'
import sys

import pythia8mc


def weights(model, change):
    """Names of the weights of 20 events, and the values of each; None where it is refused."""
    pythia = pythia8mc.Pythia("", False)
    settings = (
        "Beams:eCM = 13000", "HardQCD:all = on", "PhaseSpace:pTHatMin = 200",
        "PartonLevel:MPI = off", "HadronLevel:all = off", f"PartonShowers:model = {model}",
        "UncertaintyBands:doVariations = on", f"UncertaintyBands:List = {{a {change}}}",
        "Print:quiet = on", "Random:setSeed = on", "Random:seed = 1",
    )
    if not all(pythia.readString(line) for line in settings) or not pythia.init():
        return None
    info, found = pythia.infoPython(), {}
    for _ in range(20):
        pythia.next()
        for i in range(info.numberOfWeights()):
            found.setdefault(info.weightNameByIndex(i), set()).add(info.weightValueByIndex(i))
    return found


simple, vincia = weights(1, "fsr:muRfac=0.5"), weights(2, "fsr:muRfac=0.5")
misspelt = weights(1, "fsr:muRfa=0.5")
print("default shower:", len(simple["a"]), "values of a", file=sys.stderr)
print("VINCIA:", vincia, file=sys.stderr)
print("misspelt:", misspelt, file=sys.stderr)
same = len(simple["a"]) > 10 and vincia == {"Weight": {1.0}} and misspelt["a"] == {1.0}
sys.exit(0 if same else 1)
PYTHON
venv/bin/python run.py > /dev/null
echo "as described"
