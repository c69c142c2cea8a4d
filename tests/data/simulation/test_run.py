"""Simulation: reproducible, resumable, cached (needs the generators, with few events)."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from jaxpriors.data.sample_files import read_events, read_metadata
from jaxpriors.data.simulation import run
from jaxpriors.data.simulation.run import RECIPES, simulate
from jaxpriors.errors import InputError
from jaxpriors.physics.coordinates import pt_eta_phi

EVENTS, CHUNK = 50, 20


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("simulation") / "one.h5"
    steps = []
    result = simulate(
        events=EVENTS, seed=7, out=path, chunk=CHUNK, progress=lambda *step: steps.append(step)
    )
    assert not result.cached and result.path == path
    assert steps == [(0, 50), (20, 50), (40, 50), (50, 50)]
    return path


def assert_same_files(a, b):
    for level in ("particle", "detector"):
        one, two = read_events(a, level), read_events(b, level)
        np.testing.assert_array_equal(one.p4, two.p4)
        np.testing.assert_array_equal(one.offsets, two.offsets)
        np.testing.assert_array_equal(one.columns["z_pt"], two.columns["z_pt"])


def test_events_pass_the_selection_at_both_levels(reference):
    for level in ("particle", "detector"):
        events = read_events(reference, level)
        assert len(events) == EVENTS
        pt, eta, _ = pt_eta_phi(events.jet_p4)
        assert np.all(events.columns["z_pt"] > 200)
        assert np.all(np.abs(eta) < 2.5) and np.all(pt > 20)
        assert not np.isin(np.abs(events.pid), [12, 14, 16]).any()
        np.testing.assert_array_equal(events.weight, 1)
        hardest = np.hypot(events.p4[:, 1], events.p4[:, 2])
        falls = np.diff(hardest) <= 0
        falls[events.offsets[1:-1] - 1] = True
        assert falls.all()
    particle, detector = (read_events(reference, level) for level in ("particle", "detector"))
    np.testing.assert_array_equal(particle.columns["z_pt"], detector.columns["z_pt"])
    ratio = pt_eta_phi(detector.jet_p4)[0] / pt_eta_phi(particle.jet_p4)[0]
    assert np.median(ratio) == pytest.approx(1, abs=0.05)


def test_metadata_name_what_was_done(reference):
    metadata = read_metadata(reference)
    assert metadata["command"].startswith("jaxpriors data simulate zjets --variant simulation")
    assert metadata["events"] == EVENTS
    assert "Tune:pp = 26" in metadata["request"]["settings"]
    assert {"pythia8mc", "fastjet"} <= metadata["request"]["versions"].keys()
    assert "stand in" in metadata["note"]


def test_two_processes_give_the_same_events(reference, tmp_path):
    simulate(events=EVENTS, seed=7, out=tmp_path / "two.h5", chunk=CHUNK, processes=2)
    assert_same_files(reference, tmp_path / "two.h5")


def test_a_killed_run_goes_on(reference, tmp_path):
    script = f"""
import os, signal
from jaxpriors.data.simulation.run import simulate

def kill(done, total):
    if done:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    simulate(events={EVENTS}, seed=7, out={str(tmp_path / "a.h5")!r}, chunk={CHUNK}, progress=kill)
"""
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    killed = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], env=environment, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (tmp_path / "a.h5").exists()
    (folder,) = tmp_path.glob(".a.h5.chunks-*")
    kept = {file: file.stat().st_mtime_ns for file in folder.glob("0*.h5")}
    assert kept and len(kept) < 3

    steps = []

    def watch(done, total):
        steps.append(done)
        for file, time in kept.items():
            assert file.stat().st_mtime_ns == time

    simulate(events=EVENTS, seed=7, out=tmp_path / "a.h5", chunk=CHUNK, progress=watch)
    assert steps[0] == sum(int(file.stem.split("-")[1]) for file in kept)
    assert_same_files(reference, tmp_path / "a.h5")
    assert not folder.exists()


def test_the_same_request_is_there_already(reference, monkeypatch):
    def never(*arguments):
        raise AssertionError("generated again")

    monkeypatch.setattr(run, "_generate_missing", never)
    before = reference.read_bytes()
    assert simulate(events=EVENTS, seed=7, out=reference, chunk=CHUNK).cached
    assert reference.read_bytes() == before
    for change in ({"seed": 8}, {"variant": "data"}, {"events": 49}):
        with pytest.raises(InputError, match="exists already and was not made by this request"):
            simulate(**{"events": EVENTS, "seed": 7, "chunk": CHUNK, "out": reference} | change)


def test_variations_carry_exact_weights():
    levels = RECIPES["zjets"].generate("simulation-variations", 40, 0, 0)
    for name in ("fsr_mur_half", "fsr_mur_double", "isr_mur_half", "isr_mur_double"):
        weight = levels["particle"].columns[f"weight_{name}"]
        np.testing.assert_array_equal(weight, levels["detector"].columns[f"weight_{name}"])
        assert np.std(weight) > 0.01
        assert np.mean(weight) == pytest.approx(1, abs=0.4)
    np.testing.assert_array_equal(levels["particle"].weight, 1)


def test_requests_differ_by_variant():
    requests = [run.describe("zjets", variant, 0, 2000) for variant in RECIPES["zjets"].VARIANTS]
    assert len({str(request["settings"]) for request in requests}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "higgs"}, "recipe 'higgs' is unknown; known: zjets"),
        ({"variant": "herwig"}, "variant 'herwig' of zjets is unknown; known: simulation, data"),
        ({"events": 0}, "events is 0, expected at least 1"),
        ({"seed": -1}, "seed is -1, expected at least 0"),
        ({"processes": 0}, "processes is 0, expected at least 1"),
    ],
)
def test_what_cannot_be_simulated_leaves_no_file(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        simulate(**{"out": tmp_path / "a.h5"} | change)
    assert list(tmp_path.iterdir()) == []


def test_missing_generators_name_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'jaxpriors\[simulation\]'"):
        simulate(out=tmp_path / "a.h5")
