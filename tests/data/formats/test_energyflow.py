"""EnergyFlow's Z+jets files: miniature chunks, as its documentation describes them."""

import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.data.formats import energyflow
from jaxpriors.data.matched import read_simulation
from jaxpriors.errors import InputError
from jaxpriors.physics import kinematics
from jaxpriors.physics.particles import mass_of


def _chunk(path, n, seed, **changed):
    """A chunk; gives what it holds at particle level: pt, y, phi and identity of constituents."""
    rng = np.random.default_rng(seed)
    arrays, known = {"gen_Zs": np.stack([200 + rng.random(n), *rng.normal(size=(2, n))], 1)}, None
    for level in ("gen", "sim"):
        jets = np.stack(
            [
                rng.uniform(100, 300, n),
                rng.normal(0, 1, n),
                rng.uniform(0, 6.2, n),
                np.full(n, 9.0),
            ],
            axis=1,
        )
        counts = rng.integers(1, 6, n)
        places = rng.integers(0, 14, (n, 5))
        momenta = np.stack([rng.uniform(1, 50, (n, 5)), *rng.normal(0, 0.1, (2, n, 5))], axis=-1)
        filled = np.arange(5) < counts[:, None]
        rows = np.concatenate([momenta / (100, 1, 1), places[..., None] / 10], axis=-1)
        arrays[f"{level}_particles"] = np.where(filled[..., None], rows, 0).astype(np.float32)
        arrays[f"{level}_jets"] = jets.astype(np.float32)
        arrays[f"{level}_mults"] = counts
        if level == "gen":
            absolute = momenta + np.concatenate([np.zeros((n, 1)), jets[:, 1:3]], 1)[:, None]
            known = absolute[filled], energyflow.IDENTITIES[places[filled]], counts
    np.savez_compressed(path, **(arrays | changed))
    return known


def test_momenta_are_put_back(tmp_path):
    momenta, pid, counts = _chunk(tmp_path / "Herwig_Zjet_pTZ-200GeV_0.npz", 40, 0)
    files = energyflow.energyflow_files(tmp_path, "herwig")
    levels = energyflow.read_energyflow(files)
    found = levels["particle"]
    assert np.array_equal(found.multiplicity, counts) and np.array_equal(found.pid, pid)
    p4 = found.p4.astype(np.float64)
    assert kinematics.pt(p4) == pytest.approx(momenta[:, 0], rel=1e-5)
    assert kinematics.rapidity(p4) == pytest.approx(momenta[:, 1], abs=1e-4)
    turned = kinematics.delta_phi(kinematics.phi(p4), momenta[:, 2])
    assert np.abs(turned).max() < 1e-5
    heavy = mass_of(pid) > 0.4
    assert kinematics.mass(p4)[heavy] == pytest.approx(mass_of(pid)[heavy], rel=0.2)
    jet = found.jet_p4.astype(np.float64)
    sums = np.add.reduceat(p4, found.offsets[:-1])
    assert jet == pytest.approx(sums, rel=1e-4, abs=1e-3)
    assert levels["detector"].columns["z_pt"] == pytest.approx(found.columns["z_pt"])
    assert (found.columns["z_pt"] >= 200).all()


def test_chunks_follow_their_numbers(tmp_path):
    counts = []
    for number, n in ((10, 3), (2, 4), (0, 5)):
        name = f"Pythia26_Zjet_pTZ-200GeV_{number}.npz"
        counts.append(_chunk(tmp_path / name, n, number)[2])
    (tmp_path / "Pythia25_Zjet_pTZ-200GeV_1.npz").touch()
    files = energyflow.energyflow_files(tmp_path, "pythia26")
    told = []
    found = energyflow.read_energyflow(files, progress=told.append)["particle"]
    assert np.array_equal(found.multiplicity, np.concatenate(counts[::-1])) and told == [5, 9, 12]
    few = energyflow.read_energyflow(files, 7)
    assert np.array_equal(few["particle"].multiplicity, found.multiplicity[:7])
    assert len(few["detector"]) == 7


def test_chunks_are_converted_from_the_command_line(tmp_path, capsys):
    _chunk(tmp_path / "Herwig_Zjet_pTZ-200GeV_0.npz", 20, 0)
    command = ["data", "convert", str(tmp_path), str(tmp_path / "out.h5"), "--layout", "energyflow"]
    assert run([*command, "--sample", "herwig", "--events", "12"]) == 0
    found = read_simulation(tmp_path / "out.h5")
    chunk = energyflow.energyflow_files(tmp_path, "herwig")
    assert len(found) == 12
    read = energyflow.read_energyflow(chunk)["particle"][:12]
    assert found.particle.p4 == pytest.approx(read.p4, rel=1e-6)
    assert run(command) == 2 and "sample: found ''" in capsys.readouterr().err


def test_what_is_not_such_a_file_is_said(tmp_path):
    with pytest.raises(InputError, match="sample: found 'sherpa', expected one of pythia21"):
        energyflow.energyflow_files(tmp_path, "sherpa")
    with pytest.raises(InputError, match=r"holds no Herwig_Zjet_pTZ-200GeV_0.npz"):
        energyflow.energyflow_files(tmp_path, "herwig")
    with pytest.raises(InputError, match="no such folder"):
        energyflow.energyflow_files(tmp_path / "no", "herwig")
    path = tmp_path / "bad.npz"
    particles = np.tile([0.1, 0.0, 0.0, 0.1], (4, 2, 1))
    particles[2, 1, 3] = 1.7
    _chunk(path, 4, 0, gen_particles=particles)
    with pytest.raises(
        InputError, match=r"gen_particles: event 2 has the identity 1\.7, expected 0"
    ):
        energyflow.read_energyflow([path])
    particles[2, 1, 3], particles[1, 0, 0] = 0.3, np.nan
    _chunk(path, 4, 0, gen_particles=particles)
    with pytest.raises(InputError, match=r"\(gen\): p4 is not finite in event 1, constituent 0"):
        energyflow.read_energyflow([path])
    _chunk(path, 4, 0, sim_particles=particles[..., :3])
    with pytest.raises(InputError, match=r"sim_particles has shape \(4, 2, 3\), expected"):
        energyflow.read_energyflow([path])
    _chunk(
        path, 4, 0, sim_particles=particles[:3], sim_jets=np.ones((3, 4)), gen_Zs=np.ones((3, 3))
    )
    with pytest.raises(InputError, match="gen_Zs has shape"):
        energyflow.read_energyflow([path])
    np.savez(path, gen_jets=np.ones((3, 4)))
    with pytest.raises(InputError, match="no dataset 'gen_particles'; found: gen_jets"):
        energyflow.read_energyflow([path])
    path.write_bytes(path.read_bytes()[:80])
    with pytest.raises(InputError, match=r"bad\.npz"):
        energyflow.read_energyflow([path])
