"""Sets of weights in a checkpoint: all are found, and lists without names get them or none."""

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.porting.weight_sets import find

SHAPES = {"linear_in.weight": (3, 2), "linear_in.bias": (3,), "out.weight": (1, 3)}


def state(value=0.0, **more):
    return {name: np.full(shape, value) for name, shape in SHAPES.items()} | more


def found(content):
    return find(content, np.ndarray)


def average(value=1.0):
    return list(state(value).values())


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (state(), [""]),
        ({"epoch": 3, "state_dict": state()}, ["state_dict"]),
        ({"ema_state_dict": state(), "state_dict": state()}, ["state_dict", "ema_state_dict"]),
        ({"model": state(), "model_ema": {"module": state()}}, ["model", "model_ema.module"]),
        ({**state(), "ema": state()}, ["", "ema"]),
        ({"net": state(), "ema": {"shadow_params": average()}}, ["net", "ema.shadow_params"]),
        ({"net": state(), "others": tuple(average())}, ["net", "others"]),
        ({"net": state(), "swa": average()[:2]}, ["net", "swa"]),
        ({"net": state(), "rng": [np.zeros(7)], "losses": [np.array(1.0)] * 3}, ["net"]),
        ({"net": state(), "optimizer": {"state": {0: {"exp_avg": np.zeros(3)}}}}, ["net"]),
    ],
)
def test_all_sets_are_found(content, keys):
    assert found(content).keys == keys


def test_a_dict_within_itself_ends():
    content = {"model": state()}
    content["model"]["again"] = content
    assert found(content).keys == ["model"]


@pytest.mark.parametrize("buffers", [{}, {"blocks.0.attention.metric": np.ones(4)}])
def test_a_list_takes_the_names_of_the_parameters_in_their_order(buffers):
    sets = found({"net": state(**buffers), "ema": {"shadow_params": average(2.0)}})
    chosen = sets.choose("ema.shadow_params")
    assert list(chosen) == list(SHAPES)
    assert all(chosen[name].shape == SHAPES[name] and np.all(chosen[name] == 2) for name in SHAPES)
    assert sets.choose("net").keys() == state(**buffers).keys()


def test_names_may_be_those_of_two_state_dicts_alike():
    content = {"net": state(), "best": state(5.0), "ema": average()}
    assert found(content).choose("ema").keys() == SHAPES.keys()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"net": state(), "ema": average()[:2]}, r"its 2 tensors .* those of none.*3 of 'net'"),
        ({"net": state(), "ema": average()[::-1]}, "are those of none"),
        (
            {"a": state(), "b": {f"m.{n}": v for n, v in state().items()}, "ema": average()},
            "are those of several networks",
        ),
    ],
)
def test_a_list_without_certain_names_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        found(content).choose("ema")


def test_an_unknown_key_is_told_what_there_is():
    with pytest.raises(InputError, match="no state dict 'best', found 'net', 'ema'"):
        found({"net": state(), "ema": average()}).choose("best")
