"""Miniature files of the public data sets, laid out as they are published.

Each writer takes the values that a reader must give back, and turns them into what the set's
description and the public packages that read it say of its files: EnergyFlow (`zjets_delphes`,
`qg_jets`), JetNet (`JetNet.getData`, `TopTagging.getData`) and Particle Transformer (`dataloader`).
"""

from __future__ import annotations

import tarfile

import h5py
import hdf5plugin
import numpy as np
import pandas
import uproot

from jaxpriors.data.events import Events
from jaxpriors.physics import kinematics
from jaxpriors.physics.particles import mass_of

ZJETS_CODES = (22, 211, -211, 130, 11, -11, 13, -13, 321, -321, 2212, -2212, 2112, -2112)
JETCLASS = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")
CLASSES = (211, -211, 130, 22, 11, -11, 13, -13)


def jets(number: int, seed: int, codes=CLASSES, massless: bool = False, pt: float = 500) -> Events:
    """Jets of 1 to 12 constituents of these identities, hardest first, of about that pT (GeV)."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 13, number)
    owner = np.repeat(np.arange(number), counts)
    pid = rng.choice(codes, len(owner)).astype(np.int32)
    share = rng.exponential(1, len(owner)) + 0.05
    share /= np.bincount(owner, share)[owner]
    axis = np.stack([rng.uniform(-1, 1, number), rng.uniform(-2, 2, number)])[:, owner]
    y, phi = axis + 0.1 * rng.normal(size=(2, len(owner)))
    transverse = np.hypot(pt * share, 0 if massless else mass_of(pid))
    p4 = np.stack(
        [
            transverse * np.cosh(y),
            pt * share * np.cos(phi),
            pt * share * np.sin(phi),
            transverse * np.sinh(y),
        ],
        axis=-1,
    )
    pid = 0 * pid if massless else pid
    events = Events.from_flat(p4.astype(np.float32), counts, pid=pid).sorted_by_pt()
    return events.with_label(rng.integers(0, 2, number))


def padded(events: Events, width: int | None = None):
    """Momenta (n, P, 4) float64, codes and mask (n, P)."""
    p4, pid, length = events.padded(width)
    return p4.astype(np.float64), pid, np.arange(p4.shape[1]) < length[:, None]


def pt_y_phi(p4):
    return np.stack([kinematics.pt(p4), kinematics.rapidity(p4), kinematics.phi(p4)], axis=-1)


def write_zjets(path, particle: Events, detector: Events, **changed) -> None:
    """A chunk of EnergyFlow's Z+jets: float32 arrays, compressed."""
    arrays = {
        "gen_Zs": np.stack([200.0 + np.arange(len(particle)), *np.zeros((2, len(particle)))], 1)
    }
    for prefix, events in (("gen", particle), ("sim", detector)):
        p4, pid, mask = padded(events)
        axis = pt_y_phi(events.jet_p4.astype(np.float64))
        with np.errstate(invalid="ignore", divide="ignore"):
            found = pt_y_phi(p4)
        found[..., 1:] -= axis[:, None, 1:]
        found[..., 2] = (found[..., 2] + np.pi) % (2 * np.pi) - np.pi
        found[..., 0] /= 100
        code = np.array([ZJETS_CODES.index(x) if x else 0 for x in pid.ravel()]).reshape(pid.shape)
        rows = np.concatenate([found, code[..., None] / 10], axis=-1)
        arrays[f"{prefix}_particles"] = np.where(mask[..., None], rows, 0)
        jet_mass = kinematics.mass(events.jet_p4.astype(np.float64))
        arrays[f"{prefix}_jets"] = np.column_stack([axis, jet_mass])
        arrays[f"{prefix}_mults"] = events.multiplicity
        for name in ("lhas", "widths", "ang2s", "tau2s", "sdms", "zgs"):
            arrays[f"{prefix}_{name}"] = np.zeros(len(events))
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    np.savez_compressed(path, **(arrays | changed))


def write_quarkgluon(path, events: Events, **changed) -> None:
    """X (n, P, 4) float64: pT, y, phi, PDG code; y (n,) float64: 1 for quarks."""
    p4, pid, mask = padded(events)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = np.concatenate([pt_y_phi(p4), pid[..., None]], axis=-1)
    arrays = {"X": np.where(mask[..., None], rows, 0), "y": events.label.astype(np.float64)}
    np.savez_compressed(path, **(arrays | changed))


def write_jetnet(path, events: Events, particles: int = 30, **changed) -> None:
    """float32 datasets without chunks or compression, as the published sizes tell."""
    p4, _, mask = padded(events, particles)
    jet = events.jet_p4.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = np.stack(
            [
                kinematics.eta(p4) - kinematics.eta(jet)[:, None],
                kinematics.delta_phi(kinematics.phi(p4), kinematics.phi(jet)[:, None]),
                kinematics.pt(p4) / kinematics.pt(jet)[:, None],
                np.ones(mask.shape),
            ],
            axis=-1,
        )
    found = {
        "particle_features": np.where(mask[..., None], rows, 0).astype(np.float32),
        "jet_features": np.column_stack(
            [kinematics.pt(jet), kinematics.eta(jet), kinematics.mass(jet), mask.sum(axis=1)]
        ).astype(np.float32),
    }
    with h5py.File(path, "w") as file:
        for name, array in (found | changed).items():
            file[name] = array


def top_table(events: Events) -> pandas.DataFrame:
    """The table of the top tagging reference set: 200 particles, the top quark, two flags."""
    n = len(events)
    numbers = np.zeros((n, 804), np.float32)
    p4 = events.padded(200)[0]
    numbers[:, :800] = p4.reshape(n, -1)
    names = [f"{x}_{i}" for i in range(200) for x in ("E", "PX", "PY", "PZ")]
    names += ["truthE", "truthPX", "truthPY", "truthPZ"]
    flags = {"ttv": np.zeros(n, np.int64), "is_signal_new": events.label.astype(np.int64)}
    return pandas.concat(
        [pandas.DataFrame(numbers, columns=names), pandas.DataFrame(flags)], axis=1
    )


def write_top(path, events: Events) -> None:
    """As pandas writes an appendable table, compressed with blosc."""
    top_table(events).to_hdf(
        path, key="table", mode="w", format="table", complib="blosc", complevel=9
    )


def jetclass_branches(events: Events) -> dict[str, np.ndarray]:
    """The branches that are read, flat; labels are places in `JETCLASS`."""
    p4, pid = events.p4, np.abs(events.pid)
    jet = events.jet_p4.astype(np.float64)
    flags = {
        "ChargedHadron": pid == 211,
        "NeutralHadron": pid == 130,
        "Photon": pid == 22,
        "Electron": pid == 11,
        "Muon": pid == 13,
    }
    charge = (
        np.where(np.isin(pid, (11, 13)), -1, 1) * np.sign(events.pid) * ~np.isin(pid, (22, 130))
    )
    found = {"part_px": p4[:, 1], "part_py": p4[:, 2], "part_pz": p4[:, 3], "part_energy": p4[:, 0]}
    found |= {"part_charge": charge.astype(np.float32)}
    found |= {f"part_is{name}": flag.astype(np.int32) for name, flag in flags.items()}
    single = {
        "jet_pt": kinematics.pt(jet),
        "jet_eta": kinematics.eta(jet),
        "jet_phi": kinematics.phi(jet),
        "jet_energy": jet[:, 0],
        "jet_nparticles": events.multiplicity,
    }
    found |= {name: array.astype(np.float32) for name, array in single.items()}
    # the published tree has labels of three types
    types = [np.float32, *[bool] * 5, *[np.int32] * 4]
    for place, (name, dtype) in enumerate(zip(JETCLASS, types, strict=True)):
        found[f"label_{name}"] = (events.label == place).astype(dtype)
    return found


def write_jetclass(path, events: Events, changed=(), tree: str = "tree") -> None:
    """A ROOT file of JetClass."""
    import awkward

    branches = jetclass_branches(events) | dict(changed)
    branches = {name: array for name, array in branches.items() if array is not None}
    arrays, types = {}, {}
    for name, array in branches.items():
        jagged = name.startswith("part_")
        kind = array.dtype.name
        types[name] = f"var * {kind}" if jagged else kind
        arrays[name] = awkward.unflatten(array, events.multiplicity) if jagged else array
    with uproot.recreate(path) as file:
        file.mktree(tree, types).extend(arrays)


def pack(path, folder, members) -> None:
    """An archive as JetClass's, whose files lie in a folder."""
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.add(member, f"{folder}/{member.name}")


def write_lhco(path, rows: np.ndarray, **options) -> None:
    """As pandas' fixed format lays the table out, compressed with blosc."""
    options = options or dict(hdf5plugin.Blosc())
    with h5py.File(path, "w") as file:
        file["df/axis0"], file["df/axis1"] = np.arange(rows.shape[1]), np.arange(len(rows))
        file["df/block0_items"] = np.arange(rows.shape[1])
        file.create_dataset("df/block0_values", data=rows, chunks=(8, rows.shape[1]), **options)


def lhco_rows(number: int, seed: int, particles: int = 700) -> np.ndarray:
    """Rows of two back-to-back sprays of massless particles and a label, 2100 columns and one."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((number, particles, 3))
    for row in rows:
        phi = rng.uniform(-np.pi, np.pi)
        for jet in range(2):
            spray = row[20 * jet : 20 * jet + 20]
            spray[:, 0] = rng.exponential(80, 20) + 1
            spray[:, 1] = 0.1 * rng.normal(size=20)
            spray[:, 2] = (phi + jet * np.pi + 0.1 * rng.normal(size=20) + np.pi) % (
                2 * np.pi
            ) - np.pi
    return np.column_stack([rows.reshape(number, -1), rng.integers(0, 2, number)])
