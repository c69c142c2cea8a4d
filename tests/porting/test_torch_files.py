"""State dicts in PyTorch files: found, chosen by name, and never run as code."""

import sys

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.models.files import write_safetensors
from jaxpriors.porting.torch_files import read_tensors, read_torch


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"missing\.safetensors"):
        read_tensors(tmp_path / "missing.safetensors")
    path = tmp_path / "weights.txt"
    path.write_text("x")
    with pytest.raises(InputError, match=r"weights\.txt: starts with b'x', expected a safetensors"):
        read_tensors(path)
    np.savez(tmp_path / "a.npz", w=np.ones(2))
    with pytest.raises(InputError, match=r"a\.npz: found a zip archive that torch.save did not"):
        read_tensors(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["network.model", "network", "network.pt"])
def test_safetensors_are_known_by_their_content(tmp_path, name):
    write_safetensors(tmp_path / name, {"w": np.arange(3, dtype=np.float32)})
    np.testing.assert_array_equal(read_tensors(tmp_path / name)[0]["w"], [0.0, 1.0, 2.0])


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

    def test_a_choice_is_named_and_made(self, torch, tmp_path):
        first, second = ({"linear_in.weight": torch.full((2,), n)} for n in (1.0, 2.0))
        buffers = {"buffers": {"x": torch.ones(1)}}
        torch.save({"ema": {"shadow": second}, "model": first} | buffers, tmp_path / "a.pt")
        found, choice = read_tensors(tmp_path / "a.pt")
        np.testing.assert_array_equal(found["linear_in.weight"], [1.0, 1.0])
        assert choice == {"state dict": "model", "other state dicts": "'ema.shadow'"}
        found, _ = read_tensors(tmp_path / "a.pt", "ema.shadow")
        np.testing.assert_array_equal(found["linear_in.weight"], [2.0, 2.0])
        with pytest.raises(InputError, match=r"no state dict 'best', found 'model', 'ema\.shadow'"):
            read_tensors(tmp_path / "a.pt", "best")

    @pytest.mark.parametrize("name", ["a.pth.tar", "a.model", "a"])
    @pytest.mark.parametrize("legacy", [False, True])
    def test_files_are_known_by_their_content(self, torch, tmp_path, name, legacy):
        kind = {"_use_new_zipfile_serialization": not legacy}
        torch.save({"w": torch.ones(2)}, tmp_path / name, **kind)
        np.testing.assert_array_equal(read_tensors(tmp_path / name)[0]["w"], [1.0, 1.0])

    def test_a_tensor_that_claims_more_than_there_is(self, torch, tmp_path):
        torch.save({"w": torch.ones(1).expand(2**40)}, tmp_path / "a.pt")
        with pytest.raises(InputError, match=r"a\.pt: tensor 'w' claims shape \(1099511627776,\)"):
            read_tensors(tmp_path / "a.pt")
        torch.save({"w": torch.eye(2).to_sparse()}, tmp_path / "b.pt")
        with pytest.raises(InputError, match=r"b\.pt: tensor 'w' cannot be read"):
            read_tensors(tmp_path / "b.pt")

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
