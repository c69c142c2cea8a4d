"""The catalogue as tensorflow-datasets: built and read where there is no TensorFlow."""

import os
import subprocess
import sys

import numpy as np

from jaxpriors.data.formats.omnilearn import write_omnilearn_events
from tests.helpers import published

PROGRAM = """
import dataclasses, sys
from pathlib import Path

folder, names = Path(sys.argv[1]), sys.argv[2:]
import numpy as np
import tensorflow_datasets as tfds

from jaxpriors.data import catalog
from jaxpriors.data.catalog.builders import BUILDERS, events_of
from jaxpriors.data.parts import pieces
from jaxpriors.data.catalog.sets import File
from jaxpriors.data.events import Events

for name in names:
    builder = BUILDERS[name]
    files = sorted((folder / name).iterdir())
    if not builder.SET.local:  # the miniature files are what was published
        named = {"some": tuple(File(path.name, "") for path in files)}
        builder.SET = dataclasses.replace(builder.SET, samples=named)
        builder.BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="some")]
    made = builder(data_dir=folder / "sets")
    options = tfds.download.DownloadConfig(manual_dir=folder / name)
    made.download_and_prepare(download_config=options)
    assert made.info.citation == builder.SET.citation and made.info.homepage
    source = made.as_data_source(split="events")
    found = [events_of(source[i]) for i in range(len(source))]
    direct = [p() for path in files for p in pieces(builder.SET.parts(path))]
    for level in builder.SET.levels or (None,):
        one, two = (
            Events.concatenate([x if level is None else x[level] for x in some]).validate()
            for some in (found, direct)
        )
        assert one.digest() == two.digest() and len(one) == len(two), (name, level)
        assert all(one.columns[x].dtype == two.columns[x].dtype for x in two.columns), name
    print(name, len(source), len(one))
print([m for m in sys.modules if m.split(".")[0] in ("tensorflow", "tensorflow_cpu", "keras")])
"""


def test_every_set_is_built_and_read_back_without_tensorflow(tmp_path):
    folders = {}
    for name in (
        "zjets",
        "lhco",
        "jetclass",
        "toptagging",
        "quarkgluon",
        "jetnet",
        "omnilearn",
        "omnilearn-omnifold",
    ):
        folders[name] = tmp_path / name
        folders[name].mkdir()
    events = published.jets(70, 0)
    labelled = events.with_label(np.arange(70) % 10)
    published.write_zjets(folders["zjets"] / "Herwig_Zjet_pTZ-200GeV_0.npz", events, events)
    published.write_lhco(folders["lhco"] / "a.h5", published.lhco_rows(9, 0))
    published.write_jetclass(folders["jetclass"] / "a.root", labelled)
    published.write_top(folders["toptagging"] / "val.h5", published.jets(70, 0, massless=True))
    published.write_quarkgluon(folders["quarkgluon"] / "QG_jets.npz", events)
    for kind in "gq":
        published.write_jetnet(folders["jetnet"] / f"{kind}.hdf5", events)
    write_omnilearn_events(folders["omnilearn"] / "a.h5", labelled)
    both = {"particle": events, "detector": events}
    write_omnilearn_events(folders["omnilearn-omnifold"] / "a.h5", both)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path), *folders],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.split(" ")[0] in folders]
    assert lines[0] == "zjets 2 70" and lines[1] == "lhco 1 9" and lines[5] == "jetnet 4 140"
    assert len(lines) == len(folders)
    assert done.stdout.splitlines()[-1] == "[]"  # TensorFlow was not imported


def test_the_command_and_the_catalogue_need_none_of_it():
    program = (
        "import sys, jaxpriors, jaxpriors.cli.main, jaxpriors.data.catalog as c; assert c.SETS;"
    )
    program += "print([m for m in sys.modules if m.split('.')[0] in"
    program += " ('tensorflow_datasets', 'tensorflow', 'uproot', 'awkward', 'fastjet', 'pandas')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
