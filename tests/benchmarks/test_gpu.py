"""The run on a GPU, on CPUs: all its rows are there, compared before they are timed, done once."""

import importlib.util
import itertools
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import gpu, gpu_rows
from benchmarks.gpu_rows import OURS, Row, Variant, plan
from benchmarks.measure import Built
from benchmarks.networks import MODELS
from jaxpriors.errors import InputError

SETTINGS = ("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION")


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What a run sets for its process is put back."""
    for name in SETTINGS:
        monkeypatch.setenv(name, "")
    cached = jax.config.jax_enable_compilation_cache
    yield
    jax.config.update("jax_enable_compilation_cache", cached)


ROW = Row("lgatr-slim", "train", 16, "ragged", "float32")


def test_all_that_is_claimed_is_a_row_and_what_matters_most_is_first():
    rows = plan(MODELS, (64, 512), gpu=True)
    names = {row.name for row in rows}
    assert len(names) == len(rows)
    computes = ("float32", "tensorfloat32", "bfloat16")
    kinds = itertools.product(("forward", "train"), ("64", "512"), ("full", "ragged"), computes)
    for model in MODELS:
        assert {"-".join([model, *kind]) for kind in kinds} <= names
        assert {f"{model}-forward-1-full-{compute}" for compute in computes} <= names
    assert [row.work for row in rows[:3]] == ["forward-1-full-float32"] * 3
    assert [row.work for row in rows[3:6]] == ["train-512-ragged-bfloat16"] * 3
    kernels = {row.name for row in rows if row.attention == "cudnn"}
    assert kernels == names - {row.name for row in plan(MODELS, (64, 512), gpu=False)}
    assert not any(row.compared for row in rows if row.model == "pet")


class Measured:
    """Rows that take ten minutes each on a clock of their own, and what is kept of them."""

    def __init__(self):
        self.now, self.rows, self.kept = 0.0, [], None

    def __call__(self, row, left):
        self.now += 600
        self.rows.append(row.name)
        if len(self.rows) == 3:
            raise KeyboardInterrupt
        return [Variant(OURS, 1.0, 0.0, 2.0, 3)]

    def run(self, rows, earlier, minutes):
        def keep(done, left):
            self.kept = json.loads(json.dumps([list(done), list(left)]))

        return gpu.measure_all(rows, earlier, self, keep, minutes, lambda: self.now)


def test_what_does_not_fit_is_left_and_what_is_done_is_not_done_again(capsys):
    rows = plan(("pet",), (64, 512), gpu=False)
    names = [row.name for row in rows]
    first = Measured()
    done = first.run(rows, [], 11.0)
    # the first pass and the first step; after ten minutes, another pass is known not to fit
    assert first.rows == [names[0], names[1]] == [one["name"] for one in done]
    assert first.kept[1] == names[2:]
    assert f"no time for {len(names) - 2} rows" in capsys.readouterr().out
    second = Measured()
    with pytest.raises(KeyboardInterrupt):  # in its third row
        second.run(rows, first.kept[0], 1000.0)
    assert second.rows == names[2:5]
    assert [one["name"] for one in second.kept[0]] == names[:4] and second.kept[1] == names[4:]


class Stand:
    """In place of the peer's processes: eager agrees, its other way does not, compiled is late."""

    def __init__(self, folder, expected):
        self.folder, self.expected, self.asked, self.ended = folder, expected, [], []

    def get(self, model, how, way):
        self.how = how
        return self

    def end(self, model, how, way):
        self.ended.append(how + way)

    def rest(self):
        self.asked.append("rest")

    def ask(self, do, **order):
        self.asked.append(f"{do} {self.how} {order.get('task', '')}".strip())
        if do == "outputs":
            if self.how == "compiled":
                raise RuntimeError("lgatr-2.0.0 compiled: outputs was not finished in 120 s")
            wrong = 1.0 * order["task"].endswith("flat")
            np.savez(order["file"], outputs=self.expected + wrong)
        return {"seconds": 7.0, "piece": 16}

    def program(self, task):
        def run(calls):
            self.asked.append(f"run {task}")
            return 4.0 * calls

        return run


def test_a_peer_is_compared_before_it_is_timed_and_its_row_says_what_failed(monkeypatch, tmp_path):
    expected = np.array([1.0, 0.5])
    ours = Built(lambda calls: 2.0 * calls, 3.0, 10, lambda: expected)
    monkeypatch.setattr(gpu_rows, "_fitting", lambda row, size: (ours, ours.result(), ""))
    stand = Stand(tmp_path, expected)
    found = {v.name: v for v in gpu_rows.measured(ROW, "small", stand, 120.0, 1, 0.0)}
    assert list(found) == [OURS, "eager-masked", "eager-flat", "compiled-masked"]
    assert found[OURS].seconds == 2.0 and found["eager-masked"].seconds == 4.0
    assert found["eager-masked"].difference == 0 and found["eager-masked"].compilation == 7.0
    assert found["eager-flat"].failed == "differs from ours by 5.0e-01, more than 0.001"
    assert "not finished in 120 s" in found["compiled-masked"].failed
    assert stand.ended == ["eager-flat", "compiled"]
    asked = [one for one in stand.asked if one.startswith(("outputs", "run"))]
    assert asked[:2] == ["outputs eager train-masked", "run train-masked"]
    assert "run train-flat" not in asked and stand.asked[-1] == "rest"
    written = gpu.table([{"name": ROW.name, "model": ROW.model, "variants": [
        vars(one) for one in found.values()]}])  # fmt: skip
    assert "2.00" in written and "eager-masked; compiled in 3 s against 7 s" in written
    assert "eager-flat: differs from ours" in written
    assert "compiled-masked: lgatr-2.0.0 compiled: outputs was not finished" in written


def test_a_small_run_on_cpus(tmp_path, monkeypatch, capsys):
    """Ours, and the peer where PyTorch is there."""
    file = tmp_path / "gpu.json"
    peer = importlib.util.find_spec("torch") and importlib.util.find_spec("lgatr")
    given = {
        "models": ("lgatr-slim", "pet"),
        "rows": ("slim-forward-16-ragged-bfloat16", "pet-forward-1-full-float32"),
        "minutes": 60.0,
        "small": True,
    }
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--small"])
    assert gpu.gpu(file, **given) == 0
    content = json.loads(file.read_text())
    assert content["left"] == [] and content["size"] == "small"
    assert {"platform", "cores", "devices", "runtime"} <= set(content["machine"])
    assert ("torch" in content["versions"]) == bool(peer)
    pet, slim = content["rows"]
    for one in (pet, slim):
        ours = one["variants"][0]
        assert min(ours["seconds"], ours["compilation"], ours["memory"]) > 0 and not ours["failed"]
    assert len(pet["variants"]) == 1 and len(slim["variants"]) == (4 if peer else 1)
    for one in slim["variants"][1:]:
        assert one["difference"] < 0.15 and one["seconds"] > 0
    assert "forward-16-ragged-bfloat16" in capsys.readouterr().out

    with pytest.raises(InputError, match=r"gpu\.json: exists already"):
        gpu.gpu(file, **given)
    monkeypatch.setattr(gpu, "measured", lambda *row: pytest.fail("measured again"))
    before = content["rows"]
    assert gpu.gpu(file, **given, resume=True) == 0
    assert json.loads(file.read_text())["rows"] == before
    file.write_text(json.dumps(content | {"size": "paper"}))
    with pytest.raises(InputError, match="size: found 'paper', asked for 'small'"):
        gpu.gpu(file, **given, resume=True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "devices: found cpu, expected a GPU, or --small"),
        ({"small": True, "models": ("mlp",)}, "--models: found 'mlp', expected any of lgatr, "),
        ({"small": True, "rows": ("sideways",)}, "--rows: found sideways, expected parts"),
        ({"small": True, "peer": Path("nowhere")}, "--peer nowhere: found no PyTorch with lgatr"),
    ],
)
def test_what_cannot_be_measured_is_refused(given, told, tmp_path):
    with pytest.raises(InputError, match=told):
        gpu.gpu(tmp_path / "gpu.json", **given)
    assert not (tmp_path / "gpu.json").exists()
