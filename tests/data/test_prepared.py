"""Prepared samples: what is read is what was prepared, however it was interrupted."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jaxpriors.data.batching import TrainingBatches, gather, plan_buckets
from jaxpriors.data.events import Events
from jaxpriors.data.hdf5 import levels
from jaxpriors.data.manifest import BEGUN
from jaxpriors.data.matched import read_simulation
from jaxpriors.data.prepared import open_prepared, write_prepared
from jaxpriors.data.sample_files import read_events, read_metadata
from jaxpriors.data.stored import StoredEvents
from jaxpriors.errors import InputError
from jaxpriors.ratio.examples import two_classes
from tests.helpers.jets import random_jets


def made(seed: int, n: int = 40) -> Events:
    """Random jets with all that events can have."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 12, n)
    momenta = rng.normal(size=(counts.sum(), 3))
    energies = np.sqrt(np.sum(momenta**2, axis=1) + 0.02)
    return Events.from_flat(
        np.column_stack([energies, momenta]),
        counts,
        pid=rng.choice([211, -211, 22, 130], counts.sum()),
        weight=rng.normal(1, 0.5, n),
        label=rng.integers(0, 3, n),
        columns={"q2": rng.random(n), "a-column-b": rng.random((n, 2)).astype(np.float32)},
    )


def both_levels(seed: int) -> dict[str, Events]:
    first, second = made(seed), made(seed + 100)
    return {"particle": first, "detector": second.with_weight(first.weight)}


def same(found: Events, expected: Events) -> None:
    for name in ("p4", "pid", "offsets", "jet_p4", "weight", "label"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    assert found.columns.keys() == expected.columns.keys()
    for name, array in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], array, name)


PIECES = [partial(made, seed) for seed in range(3)]
WHOLE = Events.concatenate([made(seed) for seed in range(3)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prepared") / "sample"
    return write_prepared(place, PIECES, {"name": "made"}, processes=2)


def test_all_of_it_can_be_read_back(folder: Path) -> None:
    stored = open_prepared(folder)
    assert len(stored) == 120
    same(stored.read(), WHOLE)
    same(read_events(folder), WHOLE)  # as every command reads samples
    assert read_metadata(folder) == {"name": "made"}
    assert sorted(p.name for p in folder.iterdir() if p.suffix == ".json") == ["prepared.json"]
    assert not list(folder.glob("*piece*"))


@pytest.mark.parametrize(
    "index",
    [np.array([7, 3, 3, 119, 0]), slice(30, 90, 7), np.arange(120) % 3 == 1, np.array([], int)],
    ids=["any order, repeated", "slice", "booleans", "none"],
)
def test_chosen_events_are_those_of_the_whole(folder: Path, index: np.ndarray | slice) -> None:
    chosen = open_prepared(folder)[index]
    same(chosen.read(), WHOLE[index])
    np.testing.assert_array_equal(chosen.multiplicity, WHOLE[index].multiplicity)


def test_choosing_twice_is_choosing_once(folder: Path) -> None:
    twice = open_prepared(folder)[20:100][np.array([4, 2])].with_weight(np.array([2.0, 3.0]))
    expected = WHOLE[np.array([24, 22])].with_weight(np.array([2.0, 3.0]))
    same(twice.read(), expected)


def test_blocks_cover_it_in_order(folder: Path) -> None:
    blocks = list(open_prepared(folder).blocks(50))
    assert [len(block) for block in blocks] == [50, 50, 20]
    same(Events.concatenate(blocks), WHOLE)


def test_samples_of_several_folders_are_one(folder: Path, tmp_path: Path) -> None:
    other = write_prepared(tmp_path / "other", [partial(made, 9)], {})
    both = StoredEvents.concatenate([open_prepared(folder), open_prepared(other)])
    index = np.array([150, 0, 121, 119, 159])
    same(both[index].read(), Events.concatenate([WHOLE, made(9)])[index])
    assert isinstance(two_classes(open_prepared(folder), open_prepared(other)), StoredEvents)
    mixed, in_memory = (two_classes(first, made(9)) for first in (open_prepared(folder), WHOLE))
    same(mixed.read(), in_memory)


def test_batches_are_those_of_events_in_memory(folder: Path) -> None:
    stored, buckets = open_prepared(folder), plan_buckets(WHOLE.multiplicity)
    first, second = (
        TrainingBatches(events, buckets, 32, seed=5).epoch(1) for events in (stored, WHOLE)
    )
    for step in range(4):
        for found, expected in zip(first(step), second(step), strict=True):
            for name in vars(expected):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    weight = np.arange(240.0).reshape(120, 2)
    found = gather(stored, np.array([3, 8]), 5, 4, weight)
    np.testing.assert_array_equal(found.weight, [*weight[[3, 8]], [0, 0], [0, 0]])


def test_what_is_known_of_the_whole_is_known_of_the_parts(folder: Path) -> None:
    stored = open_prepared(folder)
    assert stored.identities and stored.undirected() == {"constituents": 0, "jets": 0}
    assert stored.digest() == open_prepared(folder).digest()
    assert stored.digest() != stored[::-1].digest()
    assert stored.digest() != stored.with_weight(stored.weight + 1).digest()
    assert stored.with_columns(["q2"]).read().columns.keys() == {"q2"}
    with pytest.raises(InputError, match="column 'x'"):
        stored.with_columns(["x"])


def test_more_pieces_than_files_may_be_open(tmp_path: Path) -> None:
    pieces = [partial(random_jets, 3, n) for n in range(40)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 25, hard))
    try:
        folder = write_prepared(tmp_path / "many", pieces, {})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    expected = Events.concatenate([piece() for piece in pieces])
    np.testing.assert_array_equal(open_prepared(folder).read().p4, expected.p4)


def test_levels_are_matched(tmp_path: Path) -> None:
    place = write_prepared(tmp_path / "levels", [partial(both_levels, s) for s in (1, 2)], {})
    assert levels(place) == ("particle", "detector")
    expected = Events.concatenate([both_levels(s)["detector"] for s in (1, 2)])
    same(open_prepared(place, "detector").read(), expected)
    same(read_events(place, "detector"), expected)
    assert len(read_simulation(place)) == 80
    with pytest.raises(InputError, match="found particle, detector"):
        open_prepared(place)


def slow(folder: str, seed: int) -> Events:
    """A piece that never ends but for the first two; it tells that it has begun."""
    (Path(folder) / f"begun-{seed}").write_text(str(os.getpid()))
    while seed > 1 and (Path(folder) / "wait").exists():
        time.sleep(0.05)
    return made(seed)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from tests.data.test_prepared import slow
from jaxpriors.data.prepared import write_prepared
if __name__ == "__main__":
    pieces = [partial(slow, sys.argv[2], seed) for seed in range(4)]
    write_prepared(Path(sys.argv[1]), pieces, {"n": 4}, processes=2)
"""


def test_a_killed_preparation_goes_on(tmp_path: Path) -> None:
    marks, place, script = tmp_path / "marks", tmp_path / "sample", tmp_path / "script.py"
    marks.mkdir()
    (marks / "wait").touch()
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, script, place, marks], env=environment) as process:
        begun = [marks / f"begun-{seed}" for seed in (2, 3)]
        while not all(mark.exists() and mark.read_text() for mark in begun):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    for mark in begun:
        while is_alive(int(mark.read_text())):  # its processes end with it
            time.sleep(0.05)
    (marks / "wait").unlink()
    with pytest.raises(InputError, match="not finished"):
        open_prepared(place)
    for mark in marks.iterdir():
        mark.unlink()
    pieces = [partial(slow, str(marks), seed) for seed in range(4)]
    with pytest.raises(InputError, match="another preparation was begun"):
        write_prepared(place, pieces, {"n": 5})
    told: list[tuple[int, int]] = []
    write_prepared(place, pieces, {"n": 4}, progress=lambda *numbers: told.append(numbers))
    assert sorted(mark.name for mark in marks.iterdir()) == ["begun-2", "begun-3"]
    assert told == [(2, 4), (3, 4), (4, 4)]
    same(open_prepared(place).read(), Events.concatenate([made(seed) for seed in range(4)]))
    write_prepared(place, pieces, {"n": 4})  # all is there: nothing is made
    assert sorted(mark.name for mark in marks.iterdir()) == ["begun-2", "begun-3"]
    with pytest.raises(InputError, match="holds another prepared sample"):
        write_prepared(place, pieces, {"n": 5})


def test_a_process_of_a_killed_call_may_be_first(tmp_path: Path) -> None:
    from jaxpriors.data import prepared

    place = tmp_path / "piece-00000"

    def late() -> Events:
        prepared._write_piece(partial(made, 0), place)
        return made(0)

    prepared._write_piece(late, place)
    assert [path.name for path in tmp_path.iterdir()] == [place.name]
    assert (place / "facts.json").is_file()


def test_a_kill_while_arrays_are_joined(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "sample"
    place.mkdir()
    (place / ".begun.json.7.tmp").touch()  # of a start that was killed at once
    write_prepared(place, PIECES, {"name": "made"})
    (place / ".begun.json.7.tmp").unlink()
    # as if the end had come after some of the arrays: the others are still in pieces
    request = json.loads((place / "prepared.json").read_text())["request"]
    (place / "prepared.json").unlink()
    (place / BEGUN).write_text(json.dumps(request))
    from jaxpriors.data import prepared

    for number, piece in enumerate(PIECES):
        prepared._write_piece(piece, place / f"piece-{number:05d}")
    for name in ("p4", "offsets", "label"):
        (place / f"{name}.npy").unlink()
    (place / ".p4.npy.partial").write_bytes(b"half")
    write_prepared(place, PIECES, {"name": "made"})
    same(open_prepared(place).read(), WHOLE)
    assert not list(place.glob(".*")) and not list(place.glob("piece*"))


def unlike(seed: int) -> Events:
    return made(seed) if seed else made(seed).with_columns([])


def nested() -> Events:
    events = made(0)
    return dataclasses.replace(events, columns={"a/b": events.weight})


def spoilt() -> Events:
    events = made(0)
    events.p4[5] = np.nan
    return events


def test_bad_input(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="piece-00000: p4 is not finite in event"):
        write_prepared(tmp_path / "a", [spoilt], {})
    with pytest.raises(InputError, match=r"found the names \['a/b'\], expected none with a slash"):
        write_prepared(tmp_path / "e", [nested], {})
    with pytest.raises(InputError, match="piece 1 has the levels"):
        write_prepared(tmp_path / "b", [partial(unlike, 0), partial(unlike, 1)], {})
    with pytest.raises(InputError, match="0 pieces"):
        write_prepared(tmp_path / "c", [], {})
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine.txt").touch()
    with pytest.raises(InputError, match="exists and is not a prepared sample"):
        write_prepared(tmp_path / "d", PIECES, {})
    with pytest.raises(InputError, match="no such file"):
        open_prepared(tmp_path / "d")
    with pytest.raises(InputError, match="without a prepared sample"):
        read_events(tmp_path / "d")
    with pytest.raises(InputError, match="level particle"):
        open_prepared(folder, "particle")


@pytest.mark.parametrize("name", ["p4", "pid", "offsets", "weight"])
def test_damaged_arrays_are_found(tmp_path: Path, name: str) -> None:
    place = write_prepared(tmp_path / "sample", PIECES[:1], {})
    whole = (place / f"{name}.npy").read_bytes()
    (place / f"{name}.npy").write_bytes(whole[:-20])
    with pytest.raises(InputError, match=rf"{name}.npy: cannot be read"):
        open_prepared(place)
    (place / f"{name}.npy").unlink()
    with pytest.raises(InputError, match=rf"{name}.npy: cannot be read"):
        open_prepared(place)
