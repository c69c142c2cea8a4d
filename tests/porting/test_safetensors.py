"""Reading and writing tensors: what is written comes back, what is damaged is named."""

import json
import sys

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.porting.safetensors import (
    DTYPES,
    read_metadata,
    read_safetensors,
    read_tensors,
    read_torch,
    write_safetensors,
)


def raw(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_every_type_comes_back_bit_for_bit(tmp_path):
    bits = np.random.default_rng(0).integers(0, 256, 48, dtype=np.uint8).tobytes()
    tensors: dict[str, np.ndarray] = {
        name: np.frombuffer(bits, dtype).reshape(2, -1)
        for name, dtype in DTYPES.items()
        if name != "BOOL"
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


def test_bfloat16_becomes_float32(tmp_path):
    words = np.array([0x3F80, 0xC040, 0x0001], "<u2")
    header = {"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    found = read_safetensors(raw(tmp_path / "a.safetensors", header, words.tobytes()))["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [1.0, -3.0, 2.0**-133])


def entry(**changes):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


DAMAGED = {
    "too short": (b"\x01\x02", "found 2 bytes"),
    "oversized header": ((2**40).to_bytes(8, "little") + b"{}", "the header claims"),
    "not JSON": ((3).to_bytes(8, "little") + b"{a}", "not valid JSON"),
    "not text": ((2).to_bytes(8, "little") + b"\xff\xfe", "not valid JSON"),
    "not an object": ((2).to_bytes(8, "little") + b"[]", "expected a JSON object"),
    "no shape": ({"x": {"dtype": "F32", "data_offsets": [0, 8]}}, "tensor 'x': expected dtype"),
    "unknown type": ({"x": entry(dtype="F8")}, "tensor 'x': found dtype 'F8'"),
    "negative shape": ({"x": entry(shape=[-2])}, "tensor 'x': shape"),
    "text shape": ({"x": entry(shape=["2"])}, "tensor 'x': shape"),
    "boolean offset": ({"x": entry(data_offsets=[False, 8])}, "tensor 'x': shape"),
    "beyond the end": (
        {"x": entry(shape=[4], data_offsets=[0, 16])},
        "'x': bytes 0:16 lie outside",
    ),
    "backwards": ({"x": entry(data_offsets=[8, 0])}, "'x': bytes 8:0 lie outside"),
    "wrong size": ({"x": entry(shape=[1])}, "tensor 'x': found 8 bytes, expected 4"),
    "huge shape": ({"x": entry(shape=[2**40, 2**40])}, "tensor 'x': found 8 bytes"),
    "overlap": ({"x": entry(shape=[1], data_offsets=[0, 4]), "y": entry()}, "overlaps"),
    "gap": ({"x": entry(shape=[1], data_offsets=[4, 8])}, "'x': its bytes 4:8 leaves a gap"),
    "unused bytes": ({"x": entry(shape=[1], data_offsets=[0, 4])}, "the header tells 4"),
    "bad boolean": ({"x": entry(dtype="BOOL", shape=[8])}, "above 1 in a BOOL"),
    "twice": (
        b'{"x": 1, "x": 2}',
        "'x' is given twice",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(tmp_path, name):
    content, message = DAMAGED[name]
    path = tmp_path / "bad.safetensors"
    if isinstance(content, dict) or name == "twice":
        raw(path, content, b"\x02" * 8)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.safetensors") as caught:
        read_safetensors(path)
    assert message in str(caught.value)


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
    with pytest.raises(TypeError, match="'y': complex128"):
        write_safetensors(path, {"y": np.ones(2, np.complex128)})
    assert list(read_safetensors(path)) == ["x"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"missing\.safetensors"):
        read_tensors(tmp_path / "missing.safetensors")
    path = tmp_path / "weights.txt"
    path.write_text("x")
    with pytest.raises(InputError, match=r"found suffix .\.txt"):
        read_tensors(path)


def test_pytorch_file_without_pytorch(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="PyTorch is needed"):
        read_torch(path)


class TestPyTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch", reason="`make test-peers` runs this with PyTorch")

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda state: state,
            lambda state: {"state_dict": state, "epoch": 3},
            lambda state: {"epoch": 3, "model": {"state_dict": state, "name": "a"}},
            lambda state: {"ema": state, "optimizer": {"lr": 0.1}},
            lambda state: {"network": state, "best_loss": np.float64(0.1)},
            lambda state: {"ema": {"w": state["w"]}, "model": state},
            lambda state: {
                "model": {"x": state["w"]},
                "a": {"b": state | {"linear_in.w": state["w"]}},
            },
        ],
    )
    def test_wrappers(self, torch, tmp_path, wrap):
        state = {"w": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2, dtype=torch.bfloat16)}
        torch.save(wrap(state), tmp_path / "a.pt")
        found = read_tensors(tmp_path / "a.pt")[0]
        np.testing.assert_array_equal(found["w"], state["w"].numpy())
        np.testing.assert_array_equal(found["b"], [1.0, 1.0])

    def test_a_choice_is_told_and_made(self, torch, tmp_path):
        first, second = ({"linear_in.weight": torch.full((2,), n)} for n in (1.0, 2.0))
        buffers = {"buffers": {"x": torch.ones(1)}}
        torch.save({"ema": {"shadow": second}, "model": first} | buffers, tmp_path / "a.pt")
        found, told = read_tensors(tmp_path / "a.pt")
        np.testing.assert_array_equal(found["linear_in.weight"], [1.0, 1.0])
        assert told == {"state dict": "model", "other state dicts": "ema.shadow"}
        found, _ = read_tensors(tmp_path / "a.pt", "ema.shadow")
        np.testing.assert_array_equal(found["linear_in.weight"], [2.0, 2.0])
        with pytest.raises(InputError, match=r"no state dict 'best', found 'model', 'ema\.shadow'"):
            read_tensors(tmp_path / "a.pt", "best")

    def test_code_is_not_run(self, torch, tmp_path):
        torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "a.pt")
        with pytest.raises(
            InputError, match=r"a\.pt: the file holds more than tensors \(torch\S+Linear"
        ):
            read_torch(tmp_path / "a.pt")

    def test_damaged(self, torch, tmp_path):
        (tmp_path / "a.pt").write_bytes(b"garbage")
        with pytest.raises(InputError, match=r"a\.pt"):
            read_torch(tmp_path / "a.pt")
        torch.save({"lr": 0.1}, tmp_path / "b.pt")
        with pytest.raises(InputError, match=r"b\.pt: found the keys \['lr'\]"):
            read_torch(tmp_path / "b.pt")
