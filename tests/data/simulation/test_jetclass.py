"""JetClass-like classes: balanced, selected, and with the masses of their resonances."""

import numpy as np
import pytest

from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import read_events, read_metadata, write_events
from jaxpriors.data.simulation import generator, jetclass, run
from jaxpriors.physics.coordinates import pt_eta_phi
from jaxpriors.physics.kinematics import mass, pt

EVENTS = 160


def generate(events: int) -> dict[str, Events]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "BATCH", 50)
        return jetclass.generate("simulation", events, 3, 0)


@pytest.fixture(scope="module")
def levels() -> dict[str, Events]:
    return generate(EVENTS)


def of_class(events: Events, *names: str) -> Events:
    return events[np.isin(events.label, [jetclass.LABELS.index(name) for name in names])]


def test_labels_are_in_the_order_of_jetclass_and_balanced(levels):
    order = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")
    assert order == jetclass.LABELS
    for events in levels.values():
        assert len(events) == EVENTS
        np.testing.assert_array_equal(events.label, np.arange(EVENTS) % 10)


def test_jets_pass_the_selection_at_both_levels(levels):
    for events in levels.values():
        jet_pt, eta, _ = pt_eta_phi(events.jet_p4)
        assert np.all((jet_pt > 499.5) & (jet_pt < 1000.5))  # up to the rounding of compact files
        assert np.all(np.abs(eta) < 2.001)
        assert not np.isin(np.abs(events.pid), [12, 14, 16]).any()
        assert events.multiplicity.min() > 1
    for name in ("resonance", "resonance_pt"):
        one, two = (levels[level].columns[name] for level in ("particle", "detector"))
        np.testing.assert_array_equal(one, two)
    assert set(np.abs(levels["detector"].pid)) == {11, 13, 22, 130, 211}


def test_classes_come_from_their_resonances(levels):
    for name, codes in (
        ("QCD", {1, 2, 3, 4, 5, 21}),
        *((name, {25}) for name in ("Hbb", "Hcc", "Hgg", "H4q", "Hqql")),
        ("Zqq", {23}),
        ("Wqq", {24}),
        ("Tbqq", {6}),
        ("Tbl", {6}),
    ):
        assert set(np.abs(of_class(levels["particle"], name).columns["resonance"])) <= codes


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Zqq",), 91),
        (("Wqq",), 80),
        (("Hbb", "Hcc", "Hgg", "H4q"), 125),
        (("Tbqq",), 170),
    ],
)
def test_masses_are_near_the_resonances(levels, names, expected):
    for events in levels.values():
        found = mass(of_class(events, *names).jet_p4.astype(np.float64))
        assert np.median(found) == pytest.approx(expected, rel=0.1)


def test_leptonic_classes_have_a_hard_lepton_and_others_have_not(levels):
    for names, most in ((("Tbl", "Hqql"), True), (("Hgg", "Wqq", "Zqq", "H4q"), False)):
        events = of_class(levels["particle"], *names)
        hard = np.isin(np.abs(events.pid), [11, 13]) & (pt(events.p4) > 20)
        share = np.mean(np.add.reduceat(hard, events.offsets[:-1]) > 0)
        assert share > 0.7 if most else share < 0.15


def test_a_half_leptonic_pair_of_w_bosons_has_leptons_of_both_charges(levels):
    events = of_class(levels["particle"], "Hqql")
    hard = np.isin(np.abs(events.pid), [11, 13]) & (pt(events.p4) > 20)
    assert set(np.sign(events.pid[hard])) == {-1, 1}


def test_fewer_events_are_the_beginning_of_more(levels):
    fewer = generate(3)
    for level, events in fewer.items():
        assert events.digest() == levels[level][:3].digest()


def test_the_file_names_its_classes(levels, tmp_path, monkeypatch):
    def from_memory(recipe, variant, seed, sizes, files, *rest):
        for file in files:
            write_events(file, levels, compact=True)

    monkeypatch.setattr(run, "_generate_missing", from_memory)
    run.simulate("jetclass", events=EVENTS, out=tmp_path / "a.h5")
    metadata = read_metadata(tmp_path / "a.h5")
    assert metadata["labels"] == list(jetclass.LABELS)
    assert metadata["request"]["chunk"] == jetclass.CHUNK
    assert "25:onIfMatch = 5 -5" in metadata["request"]["settings"]["Hbb"]
    events = read_events(tmp_path / "a.h5", "detector")
    assert events.digest() == levels["detector"].digest()
