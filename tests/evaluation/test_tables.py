"""The table of discriminators: its numbers, and its text from the numbers alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.evaluation import tables as report
from jaxpriors.evaluation.discriminators import (
    discriminator_error,
    discriminator_floor,
    triangular_discriminator,
)
from jaxpriors.evaluation.observables import Observable

OBSERVABLES = (
    Observable("mass", "m", "Mass", "GeV", 0.0, 1.0, 10),
    Observable("own", "own", "Own", "", 0.0, 2.0, 5),
)


@pytest.fixture(scope="module")
def samples() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Data of density 2x, flat simulation, the exact likelihood ratio of the simulation."""
    rng = np.random.default_rng(11)
    data, simulation = np.sqrt(rng.random(3000)), rng.random(4000)
    return (
        {"mass": data, "own": 2 * data},
        {"mass": simulation, "own": 2 * simulation},
        2 * simulation,
    )


@pytest.fixture(scope="module")
def table(samples) -> dict:
    """Their table, as it comes back from a discriminators.json."""
    data, simulation, ratio = samples
    models = {"exact": ratio, "none": np.full(4000, 3.0)}
    values = report.discriminators(
        data, simulation, models, observables=OBSERVABLES, replicas=40, seed=1
    )
    return json.loads(json.dumps(values | {"steps": 7}))


def test_table2_holds_the_metrics(samples, table):
    data, simulation, ratio = samples
    cell = table["table2"]["exact"]["mass"]
    arguments = (data["mass"], simulation["mass"], OBSERVABLES[0].edges)
    assert cell["value"] == triangular_discriminator(*arguments, None, ratio)
    assert cell["floor"] == discriminator_floor(*arguments, None, ratio)
    assert cell["unweighted"] == triangular_discriminator(*arguments)
    assert cell["error"] == discriminator_error(*arguments, None, ratio, replicas=40, seed=1)


def test_the_exact_ratio_reaches_the_floor_and_equal_weights_change_nothing(table):
    for cells in table["table2"]["exact"].values():
        assert cells["value"] < cells["floor"] + 3 * cells["error"] < 0.1 * cells["unweighted"]
    for cells in table["table2"]["none"].values():
        assert cells["value"] == pytest.approx(cells["unweighted"])


def test_format_table_shows_every_number_in_aligned_columns(table):
    lines = report.format_table(table).splitlines()
    assert lines[2].split() == ["m", "own"]
    assert [line.split()[0] for line in lines[4:]] == [
        "unweighted", "exact", "floor", "none", "floor"
    ]  # fmt: skip
    exact = table["table2"]["exact"]
    assert lines[5].split() == ["exact"] + [
        text
        for name in ("mass", "own")
        for text in (f"{exact[name]['value']:.2f}", "±", f"{exact[name]['error']:.2f}")
    ]
    assert f"{exact['own']['unweighted']:.2f}" in lines[4]
    points = [[i for i, letter in enumerate(line) if letter == "."] for line in lines[4:]]
    floors, values = points[2], points[1]
    assert values[0] in floors and values[2] in floors  # the decimal points stand one above another


def test_bad_input_is_named(samples):
    data, simulation, ratio = samples
    with pytest.raises(InputError, match=r"the simulation lack \['own'\]; found \['mass'\]"):
        report.discriminators(data, {"mass": ratio}, {"a": ratio}, observables=OBSERVABLES)
    bad = np.where(np.arange(4000) == 5, np.inf, ratio)
    with pytest.raises(InputError, match=r"weights of slim: 1 of 4000 are not .* number 5: inf"):
        report.discriminators(data, simulation, {"slim": bad}, observables=OBSERVABLES)
    with pytest.raises(InputError, match="weights of slim: all 4000 are zero"):
        report.discriminators(data, simulation, {"slim": 0 * ratio}, observables=OBSERVABLES)
    with pytest.raises(InputError, match="found no 'table2'"):
        report.format_table({"auc": 0.5})


def test_the_chosen_seed_stands_beside_mean_and_spread(table):
    cells = table["table2"]["exact"]
    half = {name: {"value": cell["value"] / 2} for name, cell in cells.items()}
    row = {"seed": 3, "chosen": cells, "mean": half, "spread": half, "seeds": {"0": 0.7, "3": 0.6}}
    seeds = table | {"table2": {"exact": row}}
    alone = table | {"table2": {"exact": row | {"seeds": {"3": 0.6}}}}
    lines, first = (report.format_table(x).splitlines()[4:] for x in (seeds, alone))
    assert [line.split("  ")[0] for line in first] == ["unweighted", "exact", ""]
    assert lines[1].startswith("exact, seed 3") and lines[1].split()[3:] == first[1].split()[1:]
    assert lines[2].startswith("  mean ± spread of 2")
    assert lines[2].split()[5:] == [
        text
        for name in ("mass", "own")
        for text in (f"{half[name]['value']:.2f}", "±", f"{half[name]['value']:.2f}")
    ]


def test_what_lies_outside_is_told(samples, table):
    data, simulation, _ = samples
    narrow = (Observable("mass", "m", "Mass", "GeV", 0.2, 0.8, 10), OBSERVABLES[1])
    found = report.discriminators(
        data, simulation, {"none": np.ones(4000)}, observables=narrow, replicas=5
    )
    mass = found["ranges"]["table2"]["mass"]
    assert (mass["low"], mass["high"], mass["bins"]) == (0.2, 0.8, 10)
    assert mass["below"]["data"] == pytest.approx(0.04, abs=0.01)
    assert mass["above"]["simulation"] == pytest.approx(0.2, abs=0.02)
    line = report.format_table(found).splitlines()[-1]
    assert line.startswith("outside of the ranges, of data and simulation: m below 0.2: ")
    assert f"{mass['below']['data']:.2%}, {mass['below']['simulation']:.2%}; m above 0.8" in line
    assert "own" not in line and "outside" not in report.format_table(table)


def test_an_empty_range_has_no_numbers_and_stops_nothing(samples):
    data, simulation, ratio = samples
    away = (Observable("mass", "m", "Mass", "GeV", 5.0, 6.0, 10), OBSERVABLES[1])
    found = report.discriminators(data, simulation, {"a": ratio}, observables=away, replicas=5)
    assert set(found["table2"]["a"]["mass"].values()) == {None}
    assert found["table2"]["a"]["own"]["value"] > 0
    lines = report.format_table(json.loads(json.dumps(found))).splitlines()
    assert lines[5].split()[:2] == ["a", "-"] and "m below 5: 100.00%, 100.00%" in lines[-1]


def test_models_with_negative_weights_share_their_bins(samples):
    data, simulation, ratio = samples
    signs = np.where(np.random.default_rng(0).random(4000) < 0.3, -1.0, 1.0)
    few = {name: values[:300] for name, values in simulation.items()}
    models = {"signed": (signs * ratio)[:300], "none": np.ones(300)}
    found = report.discriminators(data, few, models, observables=OBSERVABLES[:1], replicas=20)
    kept = found["ranges"]["table2"]["mass"]
    assert 1 < kept["bins"] < kept["of"] == 10
    alone = report.discriminators(
        data, few, {"none": models["none"]}, observables=OBSERVABLES[:1], replicas=20
    )
    assert alone["ranges"]["table2"]["mass"]["bins"] == 10
    shared, own = (x["table2"]["none"]["mass"]["value"] for x in (found, alone))
    assert shared < own  # fewer bins tell less
    note = report.format_table(found).splitlines()[-1]
    assert note == f"bins left, others are merged for negative weights: m {kept['bins']} of 10"
