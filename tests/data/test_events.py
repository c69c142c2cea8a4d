"""Events: conversions, selections and every refusal."""

import numpy as np
import pytest

from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import grid_rounded
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.physics import kinematics
from tests.helpers.jets import random_jets


def sample(n: int = 6, seed: int = 0, **changes) -> Events:
    random = np.random.default_rng(seed)
    multiplicity = random.integers(1, 9, n)
    total = int(multiplicity.sum())
    pt, eta = random.exponential(20, total) + 0.5, random.normal(0, 1, total)
    momenta = np.stack([pt, eta, random.uniform(-3, 3, total)], axis=-1)
    arguments = {
        "coordinates": "pt,eta,phi",
        "pid": random.choice([211, -211, 22, 130, 11, -13, 2212], total),
        "weight": random.normal(1, 1, n),
        "label": np.arange(n) % 2,
        "columns": {"z_pt": random.uniform(200, 300, n), "pair": random.normal(size=(n, 2))},
    }
    return Events.from_flat(momenta, multiplicity, **(arguments | changes))


def assert_same(a: Events, b: Events) -> None:
    for name in ("p4", "pid", "offsets", "jet_p4", "weight", "label"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.columns.keys() == b.columns.keys()
    for name, column in a.columns.items():
        np.testing.assert_array_equal(column, b.columns[name], err_msg=name)


def event(events: Events, i: int) -> np.ndarray:
    return events.p4[events.offsets[i] : events.offsets[i + 1]]


def test_dtypes_and_default_columns():
    events = Events.from_flat(np.array([[5, 3, 0, 4], [1, 0, 0, 1], [2, 0, 2, 0]]), [2, 1])
    assert (events.p4.dtype, events.pid.dtype, events.offsets.dtype) == ("f8", "i4", "i8")
    assert (events.jet_p4.dtype, events.weight.dtype) == ("f8", "f8")
    single = Events.from_flat(np.array([[1, 1, 0, 0]], np.float32), [1])
    assert (single.p4.dtype, single.jet_p4.dtype) == ("f4", "f8")
    np.testing.assert_array_equal(events.jet_p4, [[6, 3, 0, 5], [2, 0, 2, 0]])
    np.testing.assert_array_equal(events.weight, [1, 1])
    np.testing.assert_array_equal(events.pid, 0)
    assert events.label is None and events.columns == {}


def test_selection_by_slice_booleans_and_integers():
    events = sample()
    chosen = [4, 0, 4]
    by_integer = events[chosen]
    assert len(by_integer) == 3
    for new, old in enumerate(chosen):
        np.testing.assert_array_equal(event(by_integer, new), event(events, old))
        np.testing.assert_array_equal(by_integer.jet_p4[new], events.jet_p4[old])
        assert by_integer.columns["z_pt"][new] == events.columns["z_pt"][old]
    flags = np.array([True, False, True, False, False, True])
    assert_same(events[flags], events[np.array([0, 2, 5])])
    assert_same(events[1:4], events[[1, 2, 3]])
    assert_same(events[-1], events[[5]])
    assert len(events[:0]) == len(events[[]]) == len(events[~flags & flags]) == 0
    with pytest.raises(InputError, match=r"selection has shape \(2,\), expected \(6,\)"):
        events[np.array([True, False])]
    for outside in (6, -7):
        with pytest.raises(IndexError):
            events[outside]


def test_integers_of_any_kind_choose():
    events = random_jets(300, 0)
    chosen = np.array([255, 0, 7])  # the next one of 255 is none in eight bits
    for kind in (np.uint8, np.uint16, np.int32):
        assert_same(events[chosen.astype(kind)], events[chosen])
    assert_same(events[np.array([-1, -300], np.int16)], events[np.array([299, 0])])


def test_concatenation_undoes_slicing():
    events = sample()
    assert_same(Events.concatenate([events[:2], events[2:5], events[5:]]), events)


def test_concatenation_refuses_samples_of_different_kind():
    events = sample()
    with pytest.raises(InputError, match="at least one"):
        Events.concatenate([])
    with pytest.raises(InputError, match="sample 1 has the columns"):
        Events.concatenate([events, sample(columns={})])
    with pytest.raises(InputError, match="label is present in only one"):
        Events.concatenate([events, sample(label=None)])


def test_padding_and_back_gives_the_same_events():
    events = sample()
    p4, pid, lengths = events.padded()
    assert p4.shape == (6, events.multiplicity.max(), 4)
    np.testing.assert_array_equal(lengths, events.multiplicity)
    rest = {"weight": events.weight, "label": events.label, "columns": events.columns}
    for mask in (None, lengths, np.arange(p4.shape[1]) < lengths[:, None]):
        again = Events.from_padded(p4, mask, pid=pid, jet_p4=events.jet_p4, **rest)
        assert_same(again, events)


def test_padding_keeps_the_hardest_after_sorting():
    events = sample().sorted_by_pt()
    p4, _, lengths = events.padded(3)
    assert p4.shape[1] == 3 and lengths.max() == 3
    pt = np.hypot(events.p4[:, 1], events.p4[:, 2])
    for i, (first, last) in enumerate(zip(events.offsets[:-1], events.offsets[1:], strict=True)):
        assert np.all(np.diff(pt[first:last]) <= 0)
        np.testing.assert_array_equal(p4[i, : lengths[i]], event(events, i)[:3])


def test_ragged_arrays_give_the_same_events():
    events = sample()
    pid = np.split(events.pid, events.offsets[1:-1])
    again = Events.from_ragged([event(events, i) for i in range(6)], pid=pid)
    np.testing.assert_array_equal(again.p4, events.p4)
    np.testing.assert_array_equal(again.offsets, events.offsets)


@pytest.mark.parametrize("mass_given", [True, False])
@pytest.mark.parametrize("forward", ["eta", "y"])
def test_coordinates_give_the_momenta_back(mass_given, forward):
    pid = np.array([2212, -211, 22])
    mass = np.array([0.938272, 0.139570, 0.0])
    momentum = np.array([[3.0, 4.0, -7.0], [-2.0, 1.0, 0.5], [0.1, -30.0, 400.0]])
    energy = np.sqrt((momentum**2).sum(-1) + mass**2)
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    phi = np.arctan2(momentum[:, 1], momentum[:, 0])
    along = {"eta": np.arcsinh(momentum[:, 2] / pt), "y": np.arctanh(momentum[:, 2] / energy)}
    values = np.stack([pt, along[forward], phi, mass], axis=-1)
    name = f"pt,{forward},phi,m" if mass_given else f"pt,{forward},phi"
    found = col.to_cartesian(values if mass_given else values[:, :3], name, pid)
    np.testing.assert_allclose(found, np.column_stack([energy, momentum]), rtol=1e-9)


def test_rounding_to_the_grid_is_stable_and_small():
    events = sample(500)
    once = grid_rounded(events)
    np.testing.assert_array_equal(grid_rounded(once).p4, once.p4)
    np.testing.assert_allclose(once.p4[:, 0], events.p4[:, 0], rtol=1e-3)
    several = events.multiplicity > 2
    mass = [kinematics.mass(col.sums(e.p4, e.offsets))[several] for e in (events, once)]
    np.testing.assert_allclose(mass[1], mass[0], rtol=1e-3)


GOOD = np.array([[5.0, 3, 0, 4], [1, 0, 0, 1], [2, 0, 2, 0]])


def bad_row(row: list[float]) -> np.ndarray:
    p4 = GOOD.copy()
    p4[2] = row
    return p4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p4": bad_row([np.nan, 0, 0, 0])}, "p4 is not finite in event 1, constituent 0 .*nan"),
        ({"p4": bad_row([np.inf, 0, 0, 0])}, "p4 is not finite in event 1"),
        ({"p4": bad_row([1e300, 0, 0, 0])}, "p4 is not finite in event 1"),
        ({"p4": bad_row([-2, 0, 1, 0])}, "E is not positive in event 1.*-2.0.*expected E > 0"),
        ({"p4": bad_row([2, 0, 2.1, 0])}, r"p4 is spacelike in event 1.*expected E >= \|p\|"),
        ({"p4": GOOD[:, :3]}, r"p4 has shape \(3, 3\), expected \(total, 4\)"),
        ({"multiplicity": [2, 2]}, "multiplicities sum to 4, expected 3"),
        ({"multiplicity": [4, -1]}, "none negative"),
        ({"multiplicity": [2, 0, 1]}, "no constituents in event 1"),
        ({"multiplicity": [2.5, 0.5]}, "multiplicity holds 2.5, expected integers"),
        ({"pid": [211, 22, 4711]}, r"not known in event 1, .* found \[4711\], expected PDG codes"),
        ({"pid": [211, 22, 0.5]}, r"not known in event 1, .* found \[0.5\]"),
        ({"pid": [211, 22, np.nan]}, r"not known in event 1, .* found \[nan\]"),
        ({"pid": [211, 22]}, r"pid has shape \(2,\), expected \(3,\)"),
        ({"weight": [0, 0]}, "weight is zero for all events"),
        ({"weight": [1, np.nan]}, "weight is not finite in event 1.*nan"),
        ({"weight": [1, 1, 1]}, r"weight has shape \(3,\), expected \(2,\)"),
        ({"jet_p4": [[1, 0, 0, 0]]}, r"jet_p4 has shape \(1, 4\), expected \(2, 4\)"),
        ({"jet_p4": [[1, 0, 0, 0], [np.inf, 0, 0, 0]]}, "jet_p4 is not finite in event 1"),
        ({"label": [0.5, 1]}, "label holds 0.5, expected integers"),
        ({"columns": {"x": np.array([1.0, np.nan])}}, "column 'x' is not finite in event 1"),
        ({"columns": {"x": np.array([1.0])}}, r"column 'x' has shape \(1,\)"),
        ({"columns": {"x": np.array(["a", "b"])}}, "column 'x' has dtype <U1, expected numbers"),
        ({"coordinates": "px,py"}, "coordinates 'px,py' are unknown; known: E,px,py,pz; px,py"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(changes, message):
    arguments = {"p4": GOOD, "multiplicity": [2, 1], **changes}
    with pytest.raises(InputError, match=message):
        Events.from_flat(**arguments)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 2], "offsets run from 0 to 2, expected 0 to 3"),
        ([1, 2, 3], "offsets run from 1 to 3"),
        ([0, 4, 2, 3], "offsets fall in event 1"),
    ],
)
def test_offsets_that_do_not_rise_are_refused(offsets, message):
    n = len(offsets) - 1
    events = Events(GOOD, np.zeros(3), np.array(offsets), np.ones((n, 4)), np.ones(n))
    with pytest.raises(InputError, match=message):
        events.validate()


def test_rounded_massless_momenta_are_not_refused():
    momentum = np.random.default_rng(1).normal(0, 100, (1000, 3)).astype(np.float16)
    energy = np.sqrt((momentum.astype(np.float64) ** 2).sum(-1)).astype(np.float32)
    Events.from_flat(np.column_stack([energy, momentum]), np.ones(1000, dtype=int))


def test_negative_weights_are_kept():
    np.testing.assert_array_equal(Events.from_flat(GOOD, [2, 1], weight=[-1, 2]).weight, [-1, 2])


@pytest.mark.parametrize(
    ("p4", "mask", "message"),
    [
        (GOOD, None, r"p4 has shape \(3, 4\), expected \(n, P, 4\)"),
        (GOOD[None], np.ones((2, 3)), r"mask has shape \(2, 3\), expected \(1, 3\) or \(1,\)"),
        (GOOD[None], np.array([4]), r"multiplicities lie in \[4, 4\], expected \[0, 3\]"),
        (np.zeros((1, 2, 4)), None, "no constituents in event 0"),
    ],
)
def test_padded_arrays_that_do_not_fit_are_refused(p4, mask, message):
    with pytest.raises(InputError, match=message):
        Events.from_padded(p4, mask)


def test_the_hardest_constituents_are_kept():
    events = random_jets(50, 0)
    few = events.hardest(5)
    np.testing.assert_array_equal(few.multiplicity, np.minimum(events.multiplicity, 5))
    np.testing.assert_array_equal(few.jet_p4, events.jet_p4)
    for i in range(len(events)):
        pt = np.hypot(*events[i].p4[:, 1:3].T)
        np.testing.assert_allclose(np.hypot(*few[i].p4[:, 1:3].T), np.sort(pt)[::-1][:5])
    assert events.hardest(1000).digest() == events.sorted_by_pt().digest()
    with pytest.raises(InputError, match="constituents: found 0"):
        events.hardest(0)
