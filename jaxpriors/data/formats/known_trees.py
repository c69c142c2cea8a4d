"""Trees of well-known kinds, recognised by the names of their branches.

| kind          | momenta                         | jets                                      |
|---------------|---------------------------------|-------------------------------------------|
| like JetClass | `part_px`, …, `part_energy`     | one an entry: `jet_pt`, …, `jet_energy`   |
| like PFNano   | `PFCands_pt`, …, `PFCands_mass` | `FatJet_pt`, …, by `FatJetPFCands_jetIdx` |
|               |                                 | and `FatJetPFCands_pFCandsIdx`            |
| ours          | `pt`, `eta`, `phi`, `m`, …      | one an entry: `jet_pt`, …, `weight`, …    |

The first word of the names may be another, such as `constituent_` or `pfcand.`; it is recognised
where a single collection of the tree can be meant.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jaxpriors.data.formats.entries import jet_axes
from jaxpriors.physics.coordinates import components

_SYSTEMS = {  # coordinates → our component → what the end of its name may be
    "E,px,py,pz": {"E": ("energy", "E", "e"), "px": ("px",), "py": ("py",), "pz": ("pz",)},
    "pt,eta,phi,m": {"pt": ("pt",), "eta": ("eta",), "phi": ("phi",), "m": ("mass", "m")},
}
_MASSLESS = {"pt,eta,phi": {"pt": ("pt",), "eta": ("eta",), "phi": ("phi",)}}  # names are ours
_IDENTITIES = ("pdgId", "pdgid", "pdg_id", "pid")
_CONSTITUENTS = re.compile(
    r"part(icle)?s?|.*cands?|.*candidates?|const(ituent)?s?|daughters?|", re.IGNORECASE
)
_FLAGS = {  # of JetClass, and the identity of those that have one; charge is a factor
    "isChargedHadron": "211 * {charge}",
    "isNeutralHadron": "130",
    "isPhoton": "22",
    "isElectron": "-11 * {charge}",
    "isMuon": "-13 * {charge}",
}


@dataclass(frozen=True)
class Layout:
    """Hold what `Reading` needs: coordinates, columns and group."""

    coordinates: str
    columns: dict[str, str]
    group: str | None = None

    @property
    def options(self) -> str:
        """Write it as options of a command."""
        named = " ".join(f"{ours} {shlex.quote(theirs)}" for ours, theirs in self.columns.items())
        group = f" --group {shlex.quote(self.group)}" if self.group else ""
        return f"--columns {named} --coordinates {self.coordinates}{group}"

    def fields(self) -> dict[str, Any]:
        """Give the fields of a `Reading`."""
        return {"coordinates": self.coordinates, "columns": self.columns, "group": self.group}


def recognise(branches: Iterable[str]) -> tuple[list[Layout], Layout | None]:
    """Find the layouts that the names of branches can stand for.

    Returns:
        Those that fit, of which one alone can be used; the best guess, where there is any.

    >>> [layout], _ = recognise(["part_px", "part_py", "part_pz", "part_energy", "n"])
    >>> layout.columns["E"], layout.coordinates
    ('part_energy', 'E,px,py,pz')
    """
    present = set(branches)
    collections = _collections(present)
    grouped = [
        found
        for prefix, coordinates, columns in collections
        for found in _grouped(prefix, coordinates, columns, present)
    ]
    if grouped:
        return grouped, grouped[0]
    single = [
        Layout(
            coordinates,
            columns
            | _identity(prefix, present)
            | _jet(coordinates, present)
            | {name: name for name in ("weight", "label") if not prefix and name in present},
        )
        for prefix, coordinates, columns in collections
    ]
    fitting = [
        layout
        for layout, (prefix, _, _) in zip(single, collections, strict=True)
        if _CONSTITUENTS.fullmatch(prefix[:-1])
    ]
    return fitting, next(iter([*fitting, *single]), None)


def _collections(present: set[str]) -> list[tuple[str, str, dict[str, str]]]:
    """Find what has all components: its prefix, the coordinates, our names and the branches'."""
    found = []
    matches = (re.fullmatch(r"(.*[_.])[^_.]+", name) for name in present)
    for prefix in ["", *sorted({match[1] for match in matches if match})]:
        for coordinates in _SYSTEMS if prefix else _SYSTEMS | _MASSLESS:
            columns = _complete(prefix, coordinates, present)
            if columns:
                found.append((prefix, coordinates, columns))
                break
    return found


def _complete(prefix: str, coordinates: str, present: set[str]) -> dict[str, str]:
    ends = (_SYSTEMS | _MASSLESS)[coordinates]
    columns = {
        ours: next((prefix + end for end in ends[ours] if prefix + end in present), None)
        for ours in components(coordinates)
    }
    return {} if None in columns.values() else {k: str(v) for k, v in columns.items()}


def _grouped(
    prefix: str, coordinates: str, columns: dict[str, str], present: set[str]
) -> list[Layout]:
    """Find the collections of jets whose constituents are these, by index branches."""
    found = []
    inner = prefix[:-1]
    for index in sorted(present):
        match = re.fullmatch(rf"(.+)({inner})_({inner})Idx", index, re.IGNORECASE)
        if match is None:
            continue
        jets, group = match[1], f"{match[1]}{match[2]}_jetIdx"
        if group not in present:
            continue
        pid = _identity(prefix, present)
        chosen = {ours: f"{theirs}[{index}]" for ours, theirs in (columns | pid).items()}
        momenta = _complete(f"{jets}_", ",".join(jet_axes(coordinates)), present)
        chosen |= {f"jet_{ours}": theirs for ours, theirs in momenta.items()}
        found.append(Layout(coordinates, chosen, group))
    return found


def _identity(prefix: str, present: set[str]) -> dict[str, str]:
    for end in _IDENTITIES:
        if prefix + end in present:
            return {"pid": prefix + end}
    charge = f"{prefix}charge"
    if {charge, *(prefix + flag for flag in _FLAGS)} <= present:
        terms = (f"{code.format(charge=charge)} * {prefix}{flag}" for flag, code in _FLAGS.items())
        return {"pid": " + ".join(terms)}
    return {}


def _jet(coordinates: str, present: set[str]) -> dict[str, str]:
    """Find the momentum of the one jet of an entry, in coordinates that go with the others."""
    whole = _complete("jet_", ",".join(jet_axes(coordinates)), present)
    if whole:
        return {f"jet_{ours}": theirs for ours, theirs in whole.items()}
    if coordinates == "E,px,py,pz" and {"jet_pt", "jet_eta", "jet_phi", "jet_energy"} <= present:
        return {
            "jet_E": "jet_energy",
            "jet_px": "jet_pt * cos(jet_phi)",
            "jet_py": "jet_pt * sin(jet_phi)",
            "jet_pz": "jet_pt * sinh(jet_eta)",
        }
    return {}
