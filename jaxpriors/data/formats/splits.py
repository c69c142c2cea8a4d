"""The files of a published split: train, val and test of one sample, side by side in a folder."""

from __future__ import annotations

from pathlib import Path

from jaxpriors.data.unread import listed
from jaxpriors.errors import InputError

SPLITS = ("train", "val", "test")
SUFFIXES = (".h5", ".hdf5")


def splits_in(folder: Path) -> dict[str, Path]:
    """Find the parts of a sample in a folder, by name; none where it holds one sample.

    A part is a folder (`train/`) or a file (`train.h5`, `train_qg.h5`). A folder with several files
    for one part, such as those of two generators, is no split.

    Raises InputError for a split beside other files, of which nobody can say what they are.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     for part in SPLITS:
    ...         Path(name, f"{part}.h5").touch()
    ...     list(splits_in(Path(name)))
    ['train', 'val', 'test']
    """
    if not folder.is_dir():
        return {}
    here = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES or p.name in SPLITS)
    found = {part: [p for p in here if _is_of(p, part)] for part in SPLITS}
    present = {part: paths[0] for part, paths in found.items() if len(paths) == 1}
    if len(present) < 2 or any(len(paths) > 1 for paths in found.values()):
        return {}
    if others := [p.name for p in here if p not in present.values()]:
        names = listed([p.name for p in present.values()])
        raise InputError(f"{folder}: found {listed(others)} beside {names}, expected these alone")
    return present


def _is_of(path: Path, part: str) -> bool:
    """Tell whether a file or folder is that of a part."""
    if path.is_dir():
        return path.name == part
    return path.stem == part or path.stem.startswith(f"{part}_")
