"""Reading and writing tensors: what is written comes back, what is damaged is named."""

import json

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.models.files import (
    load_network,
    read_metadata,
    read_safetensors,
    write_safetensors,
)
from jaxpriors.porting.lgatr import port
from tests.helpers.recorded import FIXTURES

DTYPES = "F64 F32 F16 I64 I32 I16 I8 U64 U32 U16 U8"


def raw(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_every_type_comes_back_bit_for_bit(tmp_path):
    bits = np.random.default_rng(0).integers(0, 256, 48, dtype=np.uint8).tobytes()
    tensors: dict[str, np.ndarray] = {
        name: np.frombuffer(bits, f"{name[0].lower()}{int(name[1:]) // 8}").reshape(2, -1)
        for name in DTYPES.split()
    }
    tensors |= {
        "BOOL": np.array([[True], [False]]),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "strided": np.arange(12, dtype=np.int32).reshape(3, 4).T,
        "big endian": np.arange(3, dtype=">f4"),
    }
    path = tmp_path / "a.safetensors"
    write_safetensors(path, tensors, {"family": "LGATr"})
    found = read_safetensors(path)
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].shape == value.shape
        assert (
            found[name].tobytes() == np.ascontiguousarray(value.astype(found[name].dtype)).tobytes()
        )
    assert read_metadata(path) == {"family": "LGATr"}
    assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 8 == 0  # aligned tensors


def test_arrays_come_back_whatever_their_order_in_memory(tmp_path):
    """The package safetensors stores the memory of an array under its shape without a word."""
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensors = {"transposed": x.transpose(2, 0, 1), "fortran": np.asfortranarray(x), "cut": x[:, 1:]}
    path = tmp_path / "a.safetensors"
    write_safetensors(path, tensors)
    for name, value in read_safetensors(path).items():
        np.testing.assert_array_equal(value, tensors[name])


def test_files_of_pytorch_are_read():
    path = FIXTURES / "lgatr2" / "slim.safetensors"
    tensors = read_safetensors(path)
    assert {value.dtype for value in tensors.values()} == {np.dtype(np.float32)}
    assert tensors["linear_in.weight_v"].ndim == 2


def test_bfloat16_becomes_float32(tmp_path):
    words = np.array([0x3F80, 0xC040, 0x0001], "<u2")
    header = {"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    found = read_safetensors(raw(tmp_path / "a.safetensors", header, words.tobytes()))["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [1.0, -3.0, 2.0**-133])


def entry(**changes):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


DAMAGED = {
    "too short": b"\x01\x02",
    "oversized header": (2**40).to_bytes(8, "little") + b"{}",
    "not JSON": (3).to_bytes(8, "little") + b"{a}",
    "not text": (2).to_bytes(8, "little") + b"\xff\xfe",
    "not an object": (2).to_bytes(8, "little") + b"[]",
    "no shape": {"x": {"dtype": "F32", "data_offsets": [0, 8]}},
    "unknown type": {"x": entry(dtype="F8")},
    "negative shape": {"x": entry(shape=[-2])},
    "text shape": {"x": entry(shape=["2"])},
    "boolean offset": {"x": entry(data_offsets=[False, 8])},
    "beyond the end": {"x": entry(shape=[4], data_offsets=[0, 16])},
    "backwards": {"x": entry(data_offsets=[8, 0])},
    "wrong size": {"x": entry(shape=[1])},
    "huge shape": {"x": entry(shape=[2**40, 2**40])},
    "overlap": {"x": entry(shape=[1], data_offsets=[0, 4]), "y": entry()},
    "gap": {"x": entry(shape=[1], data_offsets=[4, 8])},
    "unused bytes": {"x": entry(shape=[1], data_offsets=[0, 4])},
    "bad boolean": {"x": entry(dtype="BOOL", shape=[8])},
    "numbers as metadata": {"__metadata__": {"a": 1}, "x": entry()},
    "not a tensor": {"x": 1},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_one_line_with_its_name(tmp_path, name):
    content, path = DAMAGED[name], tmp_path / "bad.safetensors"
    if isinstance(content, dict):
        raw(path, content, b"\x02" * 8)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.safetensors: [^\n]+$"):
        read_safetensors(path)


HUGE = {
    "num_blocks": (10**9, "num_blocks: found 1000000000, expected no more than the"),
    "num_layers_mlp": (10**9, "num_layers_mlp: found 1000000000"),
    "hidden_mv_channels": (10**9, "misshapen"),
    "in_mv_channels": (2**63, "makes no network|misshapen"),
    "num_heads": (2.0, "num_heads: found 2.0, expected an integer"),
    "use_bivector": (1, "use_bivector: found 1, expected true or false"),
    "num_layers": (1, "found 'num_layers', expected some of"),
    "mlp_ratio": (None, "mlp_ratio: found null, expected an integer"),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_configuration_that_was_edited(tmp_path, name):
    value, message = HUGE[name]
    path, source = tmp_path / "a.safetensors", FIXTURES / "written" / "ported_lgatr.safetensors"
    table = json.loads(read_metadata(source)["jaxpriors"])
    write_safetensors(path, read_safetensors(source), {"jaxpriors": json.dumps(table)})
    load_network(path)
    table["config"][name] = value
    write_safetensors(path, read_safetensors(source), {"jaxpriors": json.dumps(table)})
    with pytest.raises(InputError, match=rf"a\.safetensors: (.|\n)*({message})"):
        load_network(path)
    del table["config"][name]
    if name != "num_layers":
        write_safetensors(path, read_safetensors(source), {"jaxpriors": json.dumps(table)})
        with pytest.raises(InputError, match=f"found no '{name}'"):  # no default of another network
            load_network(path)


def test_blocks_that_are_numbered_without_end(tmp_path):
    path = tmp_path / "a.safetensors"
    state = read_safetensors(FIXTURES / "lgatr" / "slim_tiny.safetensors")
    for number in (10**8, 10**30, "9" * 5000):
        write_safetensors(path, state | {f"blocks.{number}.x": np.ones(2, np.float32)})
        with pytest.raises(InputError, match=r"a\.safetensors: "):
            port(path, tmp_path / "b.safetensors", {"num_heads": 2})


def test_another_file_is_one_line_with_its_name(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    for name, message in (("a.npz", "not a safetensors file"), ("absent", "no such file")):
        for read in (read_safetensors, read_metadata):
            with pytest.raises(InputError, match=rf"{name}: (.*){message}[^\n]*$"):
                read(tmp_path / name)


def test_truncated_file_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"weight": np.ones((4, 4), np.float32)})
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) - 64, 20, 7, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.safetensors"):
            read_safetensors(path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.ones(2, np.float32)})
    with pytest.raises(TypeError, match="complex128"):
        write_safetensors(path, {"y": np.ones(2, np.complex128)})
    assert list(read_safetensors(path)) == ["x"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
