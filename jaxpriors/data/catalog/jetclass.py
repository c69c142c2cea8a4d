"""JetClass: ten classes of jets, ROOT files of 100k jets each, packed in tar archives.

Read are the branches `part_px`, `part_py`, `part_pz`, `part_energy` (GeV), `part_charge`,
`part_isChargedHadron`, …NeutralHadron, …Photon, …Electron, …Muon, `jet_pt`, `jet_eta`, `jet_phi`,
`jet_energy` and `label_QCD`, … of the tree `tree`. Archives are read as they are, not unpacked.
"""

from __future__ import annotations

import contextlib
import importlib.util
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data import unread
from jaxpriors.data.catalog.sets import DataSet, published
from jaxpriors.data.checks import located
from jaxpriors.data.events import Events
from jaxpriors.data.formats.root import check_entries, undamaged
from jaxpriors.data.parts import Part
from jaxpriors.data.simulation.jetclass import LABELS
from jaxpriors.errors import InputError, one_line
from jaxpriors.physics.particles import codes_of_classes

TREE = "tree"
FLAGS = (  # branches that tell what a constituent is, in the order of `particles.CLASSES`
    "part_isChargedHadron",
    "part_isNeutralHadron",
    "part_isPhoton",
    "part_isElectron",
    "part_isMuon",
)
MOMENTA = ("part_energy", "part_px", "part_py", "part_pz")
JET = ("jet_pt", "jet_eta", "jet_phi", "jet_energy")
CLASSES = tuple(f"label_{name}" for name in LABELS)
KNOWN = (  # published, and not read
    *("part_deta", "part_dphi", "part_d0val", "part_d0err", "part_dzval", "part_dzerr"),
    *("jet_nparticles", "jet_sdmass", "jet_tau1", "jet_tau2", "jet_tau3", "jet_tau4"),
    *("aux_genpart_eta", "aux_genpart_phi", "aux_genpart_pid", "aux_genpart_pt"),
    "aux_truth_match",
)
CONSTITUENT = (*MOMENTA, "part_charge", *FLAGS)


def parts(path: Path) -> list[Part]:
    """Count the jets of a ROOT file, or of each in an archive, and say what else they hold.

    Raises InputError for a branch that looks like weights or labels and would not be read
    (`unread`), whatever its kind: the published files have none, and a tree of one's own is read
    with names of one's own.
    """
    found = []
    for member in _members(path):
        with _tree(path, member) as tree:
            name = path.name if member is None else f"{path.name}:{member}"
            place = path if member is None else f"{path}:{member}"
            unread.tell(place, _unread(place, tree))
            found.append(
                Part(name, tree.num_entries, partial(partial, read_jetclass, path, member))
            )
    return found


def _unread(place: Path | str, tree: Any) -> tuple[str, ...]:
    """Name the branches that are neither read nor those of the published files, nor counters."""
    counters = [b.count_branch.name for b in tree.branches if b.count_branch is not None]
    read = [*CONSTITUENT, *JET, *CLASSES, *KNOWN, *counters]
    return unread.account(place, tree.keys(), read, places="labels: label_QCD, …; no weights")


def is_jetclass(path: Path) -> bool:
    """Tell whether a ROOT file has the tree of JetClass, or is an archive."""
    if tarfile.is_tarfile(path):
        return True
    try:
        with _tree(path, None):
            return True
    except InputError:
        return False


def read_jetclass(path: Path, member: str | None, start: int, stop: int) -> Events:
    """Read validated jets of a ROOT file, or of one in an archive, labels in the order of `LABELS`.

    Identities are classes, as for OmniLearn's files: ±211, 130, 22, ±11, ±13 by the flags and the
    charge, 0 for a constituent without flag.

    Raises InputError naming the file and branch for one that is missing, and values that cannot be
    used.
    """
    place = f"{path}" if member is None else f"{path}:{member}"
    with _tree(path, member) as tree:
        names = [*CONSTITUENT, *JET, *CLASSES]
        with undamaged(f"{place}: {TREE}"):
            read = tree.arrays(names, entry_start=start, entry_stop=stop, library="ak")
    counts = _counts(place, read, CONSTITUENT, start)
    flat = {name: _flat(read[name]) for name in CONSTITUENT}
    event = start + np.repeat(np.arange(len(counts)), counts)
    single = {name: np.asarray(read[name]) for name in (*JET, *CLASSES)}
    classes = np.stack([single[name] for name in CLASSES], axis=1)
    wrong = ~np.isin(classes, (0, 1)).all(axis=1) | (classes.sum(axis=1) != 1)
    _refuse(
        place, start + np.arange(len(counts)), wrong, "label_QCD, …: expected one of ten to be 1"
    )
    jets = {name: single[name].astype(np.float64) for name in JET}
    pt, eta, phi = jets["jet_pt"], jets["jet_eta"], jets["jet_phi"]
    jet_p4 = np.stack(
        [jets["jet_energy"], pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=-1
    )
    with located(f"{place} (events from {start})"):
        return Events.from_flat(
            np.stack([flat[name] for name in MOMENTA], axis=-1),
            counts,
            pid=_identities(place, flat, event),
            jet_p4=jet_p4,
            label=classes.argmax(axis=1).astype(np.int32),
        )


def _identities(place: str, flat: dict[str, np.ndarray], event: np.ndarray) -> np.ndarray:
    """Find classes (total,) by the flags and the charge."""
    flags = np.stack([flat[name] for name in FLAGS], axis=1) > 0.5
    charge = np.sign(np.round(flat["part_charge"])).astype(np.int32)
    _refuse(
        place, event, flags.sum(axis=1) > 1, "part_is…: a constituent is of several kinds at once"
    )
    found, charged = codes_of_classes(flags, charge)
    _refuse(place, event, charged & (charge == 0), "part_charge: 0 for a charged constituent")
    return found


def _counts(place: str, read: Any, names: tuple[str, ...], start: int) -> np.ndarray:
    """Count the constituents of each jet, (n,); InputError where the branches differ."""
    import awkward

    counts = np.asarray(awkward.num(read[names[0]]))
    for name in names[1:]:
        other = np.asarray(awkward.num(read[name]))
        index = start + np.arange(len(counts))
        _refuse(place, index, other != counts, f"{name}: has other constituents than {names[0]}")
    return counts


def _flat(array: Any) -> np.ndarray:
    import awkward

    return np.asarray(awkward.flatten(array))


def _refuse(place: str, event: np.ndarray, flags: np.ndarray, fault: str) -> None:
    """Raise InputError for the first flagged entry; event: of which event each one is."""
    if flags.any():
        events = np.unique(event[flags])
        raise InputError(f"{place}: event {events[0]} ({len(events)} such events): {fault}")


def _members(path: Path) -> list[str] | list[None]:
    """List the ROOT files of an archive by their names; None for a ROOT file itself."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not tarfile.is_tarfile(path):
        return [None]
    try:
        with tarfile.open(path, "r:") as archive:
            found = sorted(m.name for m in archive if m.isfile() and m.name.endswith(".root"))
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: is no archive that can be read ({error})") from None
    if not found:
        raise InputError(f"{path}: holds no .root file, expected those of JetClass")
    return found


@contextlib.contextmanager
def _tree(path: Path, member: str | None) -> Iterator[Any]:
    """Open the tree of a ROOT file, or of one in an archive, with all branches that are read."""
    if importlib.util.find_spec("uproot") is None:
        raise InputError(f"{path}: ROOT files need uproot: pip install 'jaxpriors[data]'")
    import uproot

    place = f"{path}" if member is None else f"{path}:{member}"
    with contextlib.ExitStack() as stack:
        opened: Any = path
        try:
            if member is not None:
                archive = stack.enter_context(tarfile.open(path, "r:"))
                opened = archive.extractfile(member)
            file = stack.enter_context(uproot.open(opened))
            keys = file.keys(cycle=False)
            tree = file[TREE] if TREE in keys else None
        except Exception as error:  # whatever uproot makes of a damaged file
            raise InputError(
                f"{place}: is no ROOT file that can be read ({one_line(error)})"
            ) from None
        with undamaged(f"{place}: {TREE}"):
            if tree is None:
                found = ", ".join(keys) or "nothing"
                raise InputError(f"{place}: found {found}, expected {TREE!r}")
            needed = (*CONSTITUENT, *JET, *CLASSES)
            missing = [name for name in needed if name not in tree]
            if missing:
                raise InputError(
                    f"{place}: no branches {', '.join(missing)}; found: {', '.join(tree.keys())}"
                )
            check_entries(place, tree, needed)
        yield tree


SET = DataSet(
    name="jetclass",
    title="JetClass, ten classes of jets",
    homepage="https://doi.org/10.5281/zenodo.6619768",
    licence="see its Zenodo record",
    citation=(
        "H. Qu, C. Li, S. Qian, arXiv:2202.03772; H. Qu, C. Li, S. Qian, doi:10.5281/zenodo.6619768"
    ),
    holds=(
        "anti-kT R = 0.8 jets of 500 < pT < 1000 GeV at 13 TeV with Delphes; identities are "
        "classes (charged and neutral hadrons, photons, electrons, muons)"
    ),
    parts=parts,
    suffixes=(".tar", ".root"),
    samples=published("jetclass"),
    labels=LABELS,
    recipe="jetclass",
)
