"""OmniLearn's files: what is wrong with one is named, and nothing is written."""

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.porting.keras import read_keras
from jaxpriors.porting.omnilearn import inspect, port
from tests.helpers import keras_files
from tests.helpers.pet import weights

INSIDE = keras_files.INSIDE


def moved(old, new):
    def change(arrays):
        return {name.replace(old, new): value for name, value in arrays.items()}

    return change


def without(text):
    return lambda arrays: {n: v for n, v in arrays.items() if text not in n}


def put(name, value):
    return lambda arrays: arrays | {name: value}


def bodies(arrays, count):
    """The body several times, in the layout of TensorFlow 2.15."""
    body = {n.split("/", 1)[1]: v for n, v in arrays.items() if n.startswith("body/")}
    names = {n: n.replace(INSIDE, "layers") for n in body}
    return {f"layers/functional_{i}/{names[n]}": v for i in range(count) for n, v in body.items()}


DENSE = f"body/{INSIDE}/dense"
DAMAGED = {
    "renamed model": (
        moved("classifier/", "clasifier/"),
        ["unknown group clasifier", "missing group classifier"],
    ),
    "renamed layer": (
        moved("dense_5/", "dence_5/"),
        ["group body: found 1 dence, 12 dense, 4 group_normalization", "the numbering of layers"],
    ),
    "renumbered layer": (
        moved("body/_layer_checkpoint_dependencies/dense_5/", f"{DENSE}_50/"),
        [
            f"unknown {DENSE}_7/vars/1",
            f"missing {DENSE}_12/vars/1 (body.block.1.mlp.1.bias)",
            f"skips {DENSE}_5, {DENSE}_13",
        ],
    ),
    "lost layer": (
        without(f"{DENSE}_12/"),
        ["group body: found 12 dense, 4 group_normalization, 4 layer_scale, 2 multi_head_att"],
    ),
    "lost attention": (
        without(f"body/{INSIDE}/multi_head_attention_1/"),
        ["a body with as many attentions has 13 dense, 2 group_normalization, 2 layer_scale, 1"],
    ),
    "lost variable": (
        without(f"{DENSE}_2/vars/1"),
        [f"missing {DENSE}_2/vars/1 (body.embed.0.bias)"],
    ),
    "wrong shape": (
        put(f"{DENSE}_12/vars/0", np.zeros((32, 15), np.float32)),
        [f"misshapen {DENSE}_12/vars/0 (body.block.1.mlp.1.kernel): found (32, 15), expected (32"],
    ),
    "wrong shape of what sizes are read from": (
        put(f"{DENSE}_2/vars/0", np.zeros((12, 32), np.float32)),
        ["misshapen", f"sizes were read from {DENSE}_2/vars/0 (12, 32), "],
    ),
    "wrong number of heads": (
        put(f"body/{INSIDE}/multi_head_attention/_query_dense/vars/0", np.zeros((16, 3, 4))),
        ["expected a multiple of num_heads", "_query_dense/vars/0 (16, 3, 4)"],
    ),
    "wrong number of axes": (
        put(f"body/{INSIDE}/multi_head_attention/_query_dense/vars/0", np.zeros(16)),
        ["misshapen", "_query_dense/vars/0 (body.block.0.attn.query.kernel): found (16,)"],
    ),
    "wrong shape of an average": (
        put("ema_body/_layer_checkpoint_dependencies/dense_2/vars/1", np.zeros(31, np.float32)),
        ["dense_2/vars/1 (ema_body.embed.0.bias): found (31,), expected (32,)"],
    ),
    "not a number": (
        put(f"{DENSE}_12/vars/1", np.full(16, np.nan, np.float32)),
        [f"not finite {DENSE}_12/vars/1 (body.block.1.mlp.1.bias): 16 values"],
    ),
    "integers": (
        put(f"{DENSE}_12/vars/1", np.zeros(16, np.int32)),
        [f"not floating {DENSE}_12/vars/1 (body.block.1.mlp.1.bias): found int32"],
    ),
    "unknown tensors": (
        lambda arrays: arrays | {f"{DENSE}/vars/2": np.zeros(2), "head/bias": np.zeros(2)},
        [f"unknown {DENSE}/vars/2", "unknown head/bias"],
    ),
    "another model": (
        lambda arrays: {f"encoder/{INSIDE}/dense/vars/0": np.zeros((2, 2))},
        ["not of OmniLearn: found the groups encoder, expected body and others"],
    ),
    "no model": (
        lambda arrays: {"dense/vars/0": np.zeros((2, 2))},
        ["no layer of a functional model in the file"],
    ),
    "three bodies": (
        lambda arrays: bodies(arrays, 3),
        ["group layers/functional_2: found one more body than OmniLearn has"],
    ),
    "two bodies": (
        lambda arrays: bodies(arrays, 2),
        ["layers/functional_0, layers/functional_1 hold body, ema_body; expected body, cls, gen"],
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(tmp_path, name):
    change, messages = DAMAGED[name]
    path = keras_files.write(tmp_path / "a.weights.h5", change(read_keras(weights("small_all"))))
    with pytest.raises(InputError) as caught:
        port(path, tmp_path / "out.safetensors")
    for message in (str(path), *messages):
        assert message in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights.h5"]
    assert "not recognised: " in inspect(path)


def test_truncated_file(tmp_path):
    path = tmp_path / "a.weights.h5"
    content = weights("small_all").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.weights\.h5: truncated or damaged HDF5 file"):
        port(path, tmp_path / "out.safetensors")
