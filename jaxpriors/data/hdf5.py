"""Files of arrays opened for reading: HDF5 with all its links, npz, and prepared folders."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxpriors.data import prepared, unread
from jaxpriors.data.events import LEVELS
from jaxpriors.errors import InputError, one_line
from jaxpriors.run.stored_arrays import npz_array, npz_names, regular_file, stored_whole

_DAMAGE = (  # whatever h5py and zipfile make of a damaged file
    OSError,
    RuntimeError,
    KeyError,
    EOFError,
    TypeError,
    ValueError,
    MemoryError,
    zlib.error,
    zipfile.BadZipFile,
)
MOST_NAMES = 100_000  # in one file; links in a circle would go on for ever
KINDS = "biuf"  # of dtypes that are numbers


class Arrays(Mapping[str, Any]):
    """The arrays of a file by full name, `group/name`; each is looked at when it is asked for.

    A name that stands for nothing that can be read is there as well: to ask for it is an
    InputError, so that it never counts as absent.
    """

    def __init__(self, path: Path, opened: Mapping[str, Callable[[], Any]]) -> None:
        self._path, self._opened = path, {name: cache(open_) for name, open_ in opened.items()}

    def __getitem__(self, name: str) -> Any:
        return self._opened[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._opened

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)


@dataclass(frozen=True)
class Source:
    """Hold an open file: its arrays by full name (`group/name`), its groups' attributes.

    aliases: the names of arrays that are one and the same, by links, as sets.
    """

    path: Path
    arrays: Mapping[str, Any]
    attributes: Mapping[str, Mapping[str, Any]]
    aliases: tuple[frozenset[str], ...] = field(default=())

    @property
    def levels(self) -> tuple[str, ...]:
        """Name the levels that the file holds; none where its one sample stands at the root."""
        return tuple(x for x in LEVELS if any(name.startswith(f"{x}/") for name in self.arrays))

    @property
    def found(self) -> str:
        """Join the names of all datasets, for messages."""
        return unread.listed(sorted(self.arrays)) or "no dataset at all"

    def datasets(self, *names: str) -> list[Any]:
        """Find the datasets of these names, which are not yet read.

        Raises:
            InputError: there is none of a name; the message lists what there is.
        """
        for name in names:
            if name not in self.arrays:
                raise InputError(f"{self.path}: no dataset {name!r}; found: {self.found}")
        return [self.arrays[name] for name in names]

    def numbers(self, name: str) -> Any:
        """Find an array, which is not yet read; raise InputError where it is not numeric."""
        array = self.arrays[name]
        if array.dtype.kind not in KINDS:
            raise InputError(f"{self.path}: {name!r} has dtype {array.dtype}, expected numbers")
        return array

    def read(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """Read the array of that name, or some of its rows.

        Raises:
            InputError: there is none (the message lists what there is), or it is not numeric.
        """
        self.datasets(name)
        dataset = self.numbers(name)
        with _undamaged(f"{self.path}: {name!r}"):
            return np.asarray(dataset[rows] if dataset.ndim else dataset[()])

    def rows(self, name: str) -> int:
        """Count the rows of the array of that name; raise InputError where it has none."""
        self.datasets(name)
        shape = self.numbers(name).shape
        if not shape:
            raise InputError(f"{self.path}: {name!r} is a single number, expected rows")
        return len(self.arrays[name])

    def unread(
        self,
        read: Iterable[str],
        ignore: Iterable[str] = (),
        places: str = "",
        settled: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Return the names of arrays that were not read, under no name; as `unread.account`."""
        read = {*read}
        for names in self.aliases:
            if names & read:
                read |= names
        return unread.account(self.path, self.arrays, read, ignore, places, settled)


Opened = str | os.PathLike[str] | Source  # a file by its path, or one that is open already


def loaded(path: Opened, names: Sequence[str]) -> Source:
    """Read some arrays of a file into memory; raises InputError as `Source.read` does."""
    with open_source(path) as source:
        return Source(source.path, {name: source.read(name) for name in names}, {"": {}})


@contextlib.contextmanager
def open_source(path: Opened) -> Iterator[Source]:
    """Open an HDF5 or npz file, or the folder of a prepared sample, for reading.

    Soft, hard and external links are followed. What is open already is passed on, and stays open.

    Raises:
        InputError: no such file, a file of another kind, truncated or damaged; also while its
            arrays are read within the context.
    """
    if isinstance(path, Source):
        yield path
        return
    where = Path(path)
    try:
        if where.is_dir():
            if not prepared.is_prepared(where):
                raise InputError(
                    f"{where}: is a folder without a prepared sample, expected one, an HDF5 or npz "
                    "file"
                )
            yield Source(where, prepared.mapped_arrays(where), prepared.attributes(where))
            return
        regular_file(where, "an HDF5 or npz file, or the folder of a prepared sample")
        if h5py.is_hdf5(where):
            with h5py.File(where, "r") as file:
                with _undamaged(str(where)):
                    source = _hdf5(where, file)
                yield source
        elif zipfile.is_zipfile(where):
            with zipfile.ZipFile(where) as archive:
                yield Source(where, Arrays(where, _npz(where, archive)), {"": {}})
        else:
            with open(where, "rb") as raw:
                start = raw.read(8)
            raise InputError(f"{where}: starts with {start!r}, expected an HDF5 or npz file")
    except (OSError, RuntimeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"{where}: cannot be read: truncated, damaged or forbidden ({one_line(error)})"
        ) from error


@contextlib.contextmanager
def _undamaged(place: str) -> Iterator[None]:
    """Turn whatever h5py makes of damage into an InputError."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{place} cannot be read: truncated or damaged ({one_line(error)})"
        ) from None


def _npz(path: Path, archive: zipfile.ZipFile) -> dict[str, Callable[[], Any]]:
    def opened(name: str) -> Callable[[], Any]:
        return lambda: npz_array(archive, name, f"{path}: {name!r}")

    return {name: opened(name) for name in npz_names(archive)}


def _hdf5(path: Path, file: h5py.File) -> Source:
    """Visit all names of a file, those behind links as well."""
    opened: dict[str, Callable[[], Any]] = {}
    attributes: dict[str, dict[str, Any]] = {"": _attributes(file)}
    places: dict[tuple[int, int], set[str]] = {}
    waiting: list[tuple[str, h5py.Group, frozenset[tuple[int, int]]]] = [("", file, frozenset())]
    while waiting:
        prefix, group, above = waiting.pop(0)
        above |= {_address(group)}
        for key in group:
            if isinstance(key, bytes) or not _is_text(key):
                raise InputError(f"{path}: found the name {key!r} in {prefix!r}, expected UTF-8")
            name = prefix + key
            if len(opened) + len(attributes) > MOST_NAMES:
                raise InputError(
                    f"{path}: found more than {MOST_NAMES} names by links of groups, expected fewer"
                )
            try:
                item = group[key]
            except _DAMAGE as error:
                opened[name] = _broken(path, name, group, key, error)
                continue
            if isinstance(item, h5py.Group):
                if _address(item) not in above:
                    attributes[name] = _attributes(item)
                    waiting.append((f"{name}/", item, above))
            elif isinstance(item, h5py.Dataset):
                opened[name] = _dataset(path, name, item)
                places.setdefault(_address(item), set()).add(name)
    aliases = tuple(frozenset(names) for names in places.values() if len(names) > 1)
    return Source(path, Arrays(path, opened), attributes, aliases)


def _is_text(name: str) -> bool:
    """Tell whether a name is UTF-8; what is not holds halves of pairs."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _attributes(item: h5py.Group) -> dict[str, Any]:
    """Read the attributes of a group, without those that cannot be read."""
    found = {}
    for name in item.attrs:
        with contextlib.suppress(OSError, TypeError, ValueError, KeyError, RuntimeError):
            found[name] = item.attrs[name]
    return found


def _address(item: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _broken(
    path: Path, name: str, group: h5py.Group, key: str, error: Exception
) -> Callable[[], Any]:
    """Make the refusal of a name that leads nowhere."""
    link = group.get(key, getlink=True)
    what = f"cannot be opened ({one_line(error)})"
    if isinstance(link, h5py.SoftLink):
        what = f"is a link to {link.path!r}, which is not there"
    elif isinstance(link, h5py.ExternalLink):
        what = f"is a link to {link.path!r} of {link.filename!r}, which is not there"

    def refused() -> Any:
        raise InputError(f"{path}: {name!r} {what}; expected an array")

    return refused


class Stored:
    """A dataset of an HDF5 file, which is compared with what was written of it before it is read.

    Raises InputError where it has no data space, or `stored_arrays.stored_whole` refuses it, or its
    compression cannot be read here.
    """

    def __init__(self, path: Path, name: str, dataset: h5py.Dataset) -> None:
        self._path, self._place, self._dataset = path, f"{path}: {name!r}", dataset
        self._whole = False

    def __getattr__(self, name: str) -> Any:
        with _undamaged(self._place):
            found = getattr(self._dataset, name)
        if name == "shape" and found is None:
            raise InputError(f"{self._place} has a null data space, expected an array")
        return found

    def __len__(self) -> int:
        with _undamaged(self._place):
            return len(self._checked())

    def __getitem__(self, rows: Any) -> Any:
        with _undamaged(self._place):
            return self._checked()[rows]

    def fields(self, name: str) -> Any:
        """Give one field of a table of records, to be read by rows."""
        return self._checked().fields(name)

    def _checked(self) -> h5py.Dataset:
        """Return the dataset, if what it claims was written."""
        if not self._whole:
            with _undamaged(self._place):
                check_filters(self._path, self._dataset)
                stored_whole(self._dataset, self._place)
            self._whole = True
        return self._dataset

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[()], dtype)


def _dataset(path: Path, name: str, dataset: h5py.Dataset) -> Callable[[], Any]:
    return lambda: Stored(path, name, dataset)


def check_filters(path: Path, array: h5py.Dataset) -> None:
    """Raise InputError where a dataset's compression needs hdf5plugin, which is missing."""
    filters = array.id.get_create_plist()
    used = [filters.get_filter(i) for i in range(filters.get_nfilters())]
    missing = [each for each in used if not h5py.h5z.filter_avail(each[0])]
    if missing and importlib.util.find_spec("hdf5plugin") is not None:
        import hdf5plugin  # noqa: F401 (makes h5py read more of them, blosc among them)

        missing = [each for each in missing if not h5py.h5z.filter_avail(each[0])]
    if missing:
        names = ", ".join(
            f"{name.decode() or 'filter'} ({number})" for number, _, _, name in missing
        )
        raise InputError(
            f"{path}: is compressed with {names}, which needs hdf5plugin: "
            "pip install 'jaxpriors[data]'"
        )


def levels(path: Opened) -> tuple[str, ...]:
    """Name the levels that a file holds; none where its one sample stands at the root."""
    with open_source(path) as source:
        return source.levels
