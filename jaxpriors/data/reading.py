"""How a file of events is read: everything that its own contents do not tell."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.physics.coordinates import components

UNITS = {"GeV": 1.0, "MeV": 1e-3}


@dataclasses.dataclass(frozen=True)
class Reading:
    """Say how a file is to be read; what is left out follows from the file.

    Args:
        level: `particle` or `detector`, where a file holds both.
        columns: our names and the file's. Ours are those of `data.sample_files` (p4 or its
            components, pid, multiplicity, mask, jet_p4, weight, label); other names become
            event-level columns. The file's are datasets, or expressions of branches.
        coordinates: of the momenta, one of `physics.coordinates.COORDINATES`.
        ignore: names in the file, or patterns of them (`*Weight*`), that are knowingly not read,
            though they look as if they mattered.
        padding: the value of the first component of padded rows, NaN among them; by default 0.
        identities: pdg, as they are; ignore, all unknown; or a mapping of codes in the file to PDG
            codes.
        unit: of energies, momenta and masses in the file.
        tree: name of a tree in a ROOT file, where there are several.
        group: branch with the index of the jet that each constituent belongs to.
        cut: condition on events (or jets) of a tree; others are left out.

    Raises:
        InputError: unknown coordinates, units or words for identities.

    >>> Reading(columns={"p4": "jets/momenta"}, unit="MeV").scale
    0.001
    """

    level: str | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    coordinates: str | None = None
    ignore: tuple[str, ...] = ()
    padding: float | None = None
    identities: Literal["pdg", "ignore"] | Mapping[int, int] = "pdg"
    unit: Literal["GeV", "MeV"] = "GeV"
    tree: str | None = None
    group: str | None = None
    cut: str | None = None

    def __post_init__(self) -> None:
        """Compare words with those that are known."""
        if self.coordinates is not None:
            components(self.coordinates)
        if self.unit not in UNITS:
            raise InputError(f"unit: found {self.unit!r}, expected one of {', '.join(UNITS)}")
        if isinstance(self.identities, str) and self.identities not in ("pdg", "ignore"):
            raise InputError(
                f"identities: found {self.identities!r}, expected pdg, ignore or a mapping"
            )

    @property
    def scale(self) -> float:
        """Factor that turns the file's energies into GeV."""
        return UNITS[self.unit]

    def pdg_codes(self, found: np.ndarray) -> np.ndarray:
        """Turn identities of the file into PDG codes, of the same shape; codes not mapped stay.

        >>> Reading(identities={1: 130, 2: 22}).pdg_codes(np.array([1, 2, 211])).tolist()
        [130, 22, 211]
        """
        if self.identities == "ignore":
            return np.zeros(found.shape, np.int32)
        result = found
        if isinstance(self.identities, Mapping):
            result = found.copy()
            for code, pdg in self.identities.items():
                result[found == code] = pdg
        return result

    def ignores(self, name: str) -> bool:
        """Tell whether a name in the file is knowingly not read."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignore)

    def replace(self, **fields: Any) -> Reading:
        """Replace some fields."""
        return dataclasses.replace(self, **fields)
