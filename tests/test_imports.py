"""The rooms of the package stand on floors: no import goes up, and none runs in a circle."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up; a file imports from its own room and from those before it alone.
FLOORS = (
    "errors",
    "physics",
    "run",
    "layers",
    "data",
    "data.formats",
    "data.simulation",
    "data.samples",
    "data.catalog",
    "data.inspection",
    "models",
    "preprocessing",
    "training",
    "evaluation",
    "ratio",
    "unfolding",
    "generation",
    "anomaly",
    "report",
    "porting",
    "verification",
    "cli",
)


def modules():
    """Dotted name → path of every file of the package."""
    found = {}
    for path in sorted((ROOT / "jaxpriors").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path, known):
    """Names of the modules that a file imports anywhere: at its head, in functions, for types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in inner}
    return {name for name in found if name in known and name != "jaxpriors"}


def room(name):
    """The floor that a module belongs to."""
    inner = name.removeprefix("jaxpriors.")
    return max((f for f in FLOORS if f"{inner}.".startswith(f"{f}.")), key=len)


@pytest.fixture(scope="module")
def arrows():
    """Module → those that it imports, but for the package's own entrances."""
    known = modules()
    entrances = ("jaxpriors", "jaxpriors.__main__")
    return {n: imports(path, known) for n, path in known.items() if n not in entrances}


def test_every_file_stands_in_a_room(arrows):
    assert {room(name) for name in arrows} == set(FLOORS)


def test_no_room_imports_from_a_floor_above(arrows):
    height = {floor: number for number, floor in enumerate(FLOORS)}
    upwards = [
        f"{name} -> {other}"
        for name, others in arrows.items()
        for other in others
        if height[room(other)] > height[room(name)]
    ]
    assert upwards == []


def test_no_circle_of_files(arrows):
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        raise AssertionError(f"circle: {' -> '.join(error.args[1])}") from None


def test_no_circle_of_rooms(arrows):
    graph = defaultdict(set)
    for name, others in arrows.items():
        graph[room(name)] |= {room(other) for other in others} - {room(name)}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("folder", ["experiments", "benchmarks"])
def test_studies_and_benchmarks_need_no_command(folder):
    known = modules()
    found = {
        f"{path.name} -> {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in imports(path, known)
        if room(name) == "cli"
    }
    assert found == set()
