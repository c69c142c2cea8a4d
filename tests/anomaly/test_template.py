"""A template of the background from the sidebands: its events, a kill at each stage, bad input."""

import dataclasses

import numpy as np
import pytest

from jaxpriors import InputError
from jaxpriors.anomaly import template as background_template
from jaxpriors.anomaly.template import TEMPLATE, make_template, split_region
from jaxpriors.cli.main import run
from jaxpriors.data import dijets
from jaxpriors.data.sample_files import read_events, write_events
from jaxpriors.generation import dijets as dijet_generation
from jaxpriors.generation.dijets import TRAINING, TemplateConfig
from jaxpriors.generation.jets import SamplingConfig
from tests.generation.test_dijets import INPUTS, TINY
from tests.helpers.dijets import random_dijets

REGION = (3450.0, 3550.0)
SHORT = dataclasses.replace(TRAINING["small"], epochs=2, batch_size=32, buckets=1)
CONFIG = TemplateConfig(TINY, INPUTS, SHORT, validation=0.2)
FEW = SamplingConfig(steps=3, batch_size=64)
EVENTS, DATA = random_dijets(160, 0), random_dijets(80, 1)


class Killed(BaseException):
    """What a kill is to the code: it does not come back."""


def test_masses_are_those_of_the_data_inside_and_training_is_outside():
    around, mass = split_region(EVENTS, DATA, REGION, None, 0)
    assert not dijets.inside(around, REGION).any() and 0 < len(around) < len(EVENTS)
    inside = dijets.dijet_mass(DATA)[dijets.inside(DATA, REGION)]
    np.testing.assert_array_equal(np.sort(mass), np.sort(inside))
    twice = split_region(EVENTS, DATA, REGION, 2 * len(mass) + 1, 0)[1]
    counts = np.unique(twice, return_counts=True)[1]
    assert len(twice) == 2 * len(mass) + 1 and sorted(set(counts)) == [2, 3]


@pytest.mark.parametrize(
    ("region", "events", "message"),
    [
        ((1.0, 2.0), None, "data: found no event in the signal region 1 < m_jj < 2 GeV"),
        ((3000.0, 5000.0), None, "sidebands: found 0 events below and 0 above"),
        ((3000.0, 3500.0), None, "sidebands: found 0 events below and"),
        (REGION, 0, "events: found 0, expected at least 1"),
    ],
)
def test_regions_that_cannot_be_are_refused(region, events, message):
    with pytest.raises(InputError, match=message):
        split_region(EVENTS, DATA, region, events, 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    around, mass = split_region(EVENTS, DATA, REGION, 30, 0)
    metrics = make_template(around, mass, CONFIG, FEW, folder)
    return around, mass, read_events(folder / TEMPLATE), metrics


def test_a_template_has_the_masses_and_is_measured(whole):
    _, mass, events, metrics = whole
    np.testing.assert_allclose(dijets.dijet_mass(events), mass, rtol=1e-4)
    assert metrics["events"] == 30 and metrics["scale"]["mean"] > 0
    assert set(metrics["distance"]) == set(metrics["floor"]) >= {"jet1_pt", "jet2_mass"}
    assert 0 < metrics["floor"]["jet1_pt"] < metrics["distance"]["jet1_pt"]


def test_killed_while_training_or_comparing_it_ends_the_same(whole, tmp_path, monkeypatch):
    around, mass, events, metrics = whole

    def kill_training(record):
        if record.get("epoch") == 2 and "steps" in record:
            raise Killed

    def kill_comparing(record):
        if "to compare" in record.get("stage", ""):
            raise Killed

    for kill in (kill_training, kill_comparing):
        with pytest.raises(Killed):
            make_template(around, mass, CONFIG, FEW, tmp_path, kill)
    assert (tmp_path / TEMPLATE).exists()
    made = []
    generate = background_template.generate_dijets

    def counted(generator, masses, *rest):
        made.append(len(masses))
        return generate(generator, masses, *rest)

    monkeypatch.setattr(background_template, "generate_dijets", counted)
    again = make_template(around, mass, CONFIG, FEW, tmp_path)
    assert made == [round(0.2 * len(around))]  # those to compare with alone
    assert read_events(tmp_path / TEMPLATE).digest() == events.digest() and again == metrics


def test_the_command_makes_a_template_and_goes_on(tmp_path, monkeypatch, capsys):
    write_events(tmp_path / "sidebands.h5", EVENTS)
    write_events(tmp_path / "data.h5", DATA)
    monkeypatch.setitem(dijet_generation.TRAINING, "small", SHORT)
    monkeypatch.setitem(dijet_generation.NETWORKS, "small", TINY)
    out = tmp_path / "template"
    command = ["anomaly", "template", str(tmp_path / "sidebands.h5"), str(tmp_path / "data.h5")]
    command += ["--out", str(out), "--region", "3450", "3550", "--steps", "3", "--epochs", "1"]
    command += ["--constituents", "4"]
    assert run(command) == 0
    printed = capsys.readouterr().out
    assert "Wasserstein-1" in printed and "jet2_multiplicity" in printed
    assert len(read_events(out / TEMPLATE)) == dijets.inside(DATA, REGION).sum()
    assert run(["report", str(out)]) == 0
    assert capsys.readouterr().out.strip() in printed
    assert run(command) == 2 and "exists already" in capsys.readouterr().err
    assert run([*command, "--resume", "--seed", "1"]) == 2
    assert "another configuration" in capsys.readouterr().err
    assert run([*command, "--resume"]) == 0
