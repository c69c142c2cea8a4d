"""The benchmarks: what they count, compare and choose; no test looks at a clock."""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import readme
from benchmarks.against_peers import _row
from benchmarks.measure import flops, time_in_turn
from benchmarks.networks import PARTICLES, benchmarked, in_buckets, multiplicities
from benchmarks.packing import compare, packed, shares, together
from benchmarks.peers.client import SERVERS, running
from benchmarks.pretraining_on_paper import Machine, Task, model


@pytest.mark.parametrize(("model", "most"), [("lgatr", 8.0e8), ("lgatr-slim", 3.4e8), ("pet", 5e8)])
def test_operations_of_a_forward_pass(model, most):
    """Of the compiled program."""
    task = benchmarked(model)
    network = jax.eval_shape(task.init, jax.random.key(0))
    counted = flops(task.forward, network, *task.jets(1))
    assert 0.75 * most < counted < most


@pytest.mark.parametrize("model", ["lgatr", "lgatr-slim"])
def test_packed_jets_have_the_loss_of_padded_ones(model):
    task = benchmarked(model, "small")
    network = task.init(jax.random.key(0))
    jets = task.ragged(np.array([40, 7, 101, 12, 33]))
    rows = packed(jets, 128, 4)
    compare(task, together(model, task), network, jets, rows)
    wrong = (*rows[:2], np.minimum(rows[2], 1), rows[3])  # as if each row were one jet
    with pytest.raises(RuntimeError, match="packed jets have the loss"):
        compare(task, together(model, task), network, jets, wrong)


def test_rows_hold_every_jet_once():
    multiplicity = multiplicities(200)
    rows = shares(multiplicity, 128)
    assert sorted(jet for row in rows for jet in row) == list(range(200))
    assert max(multiplicity[row].sum() for row in rows) <= 128
    assert len(rows) <= 1.1 * multiplicity.sum() / 128


def test_jets_of_realistic_multiplicities():
    multiplicity = multiplicities(2000)
    assert multiplicity.max() == PARTICLES and multiplicity.mean() == pytest.approx(46, abs=1)
    task = benchmarked("pet", "small")
    parts = in_buckets(task, multiplicity)
    assert sum(len(m) for _, _, m in parts) == 2000
    assert all(m.max() <= features.shape[1] for _, features, m in parts)
    padded = task.ragged(np.sort(multiplicity))
    for i in range(2):  # the same jets, without the padding
        filled = [np.asarray(a[i])[np.arange(a[i].shape[1]) < a[2][:, None]] for a in parts]
        expected = np.asarray(padded[i])[np.arange(PARTICLES) < padded[2][:, None]]
        np.testing.assert_array_equal(np.concatenate(filled), expected)


def _programs(**seconds):
    calls = dict.fromkeys(seconds, 0)

    def program(name):
        def run(count):
            calls[name] += count
            return count * seconds[name]

        return run

    return {name.replace("_", " "): program(name) for name in seconds}, calls


def test_programs_run_in_turn_and_as_often_as_their_time_allows():
    programs, calls = _programs(slow=1.0, fast=0.1)
    timings = time_in_turn(programs, rounds=3, least=0.5)
    assert timings["slow"].seconds == 1.0 and timings["fast"].seconds == pytest.approx(0.1)
    assert timings["fast"].spread == pytest.approx(0)
    assert calls == {"slow": 2 + 3, "fast": 2 + 3 * 5}


def test_the_fastest_peer_counts_and_slow_ones_stop(capsys):
    peers, calls = _programs(a_eager=1.0, a_compiled=1.2, b_eager=2.0)
    asked = []

    def ours(release):
        asked.append(release)
        return {
            "ours, micro-batches of 2": lambda n: 0.5 * n,
            "ours, micro-batches of 4": lambda n: 0.25 * n,
        }

    row = _row("net", "train", peers, ours, rounds=3)
    assert (row.ours, row.peer, row.ratio) == (0.25, 1.0, 4.0)
    assert row.note == "a eager, micro-batches of 4" and asked == ["a"]
    assert calls["b_eager"] == 2 and calls["a_compiled"] == 5
    assert "b eager: 2000.0 ms in one call" in capsys.readouterr().out


def test_a_peer_is_asked_and_one_that_fails_is_late_or_stops_is_an_error(tmp_path):
    server = tmp_path / "server.py"
    server.write_text(
        f"import sys\nsys.path.insert(0, {str(SERVERS)!r})\n"
        "from serve import serve\n"
        "class Server:\n"
        "    def run(self, task, calls):\n"
        "        print('what a peer prints is no answer')\n"
        "        return {'seconds': calls * {'train': 2.0}[task]}\n"
        "    def sleep(self):\n"
        "        __import__('time').sleep(20)\n"
        "serve(Server())\n"
    )
    with running("peer", Path(sys.executable), str(server)) as peer:
        assert peer.program("train")(3) == 6.0
        with pytest.raises(RuntimeError, match="peer: run: KeyError: 'forward'"):
            peer.program("forward")(1)
        assert peer.program("train")(2) == 4.0
        peer.limit = 0.2
        with pytest.raises(RuntimeError, match="peer: sleep was not finished in 0 s"):
            peer.ask("sleep")
        with pytest.raises(RuntimeError, match="peer: stopped at run"):
            peer.program("train")(1)


def test_the_table_in_the_readme_is_that_of_the_results():
    text = (readme.ROOT / "README.md").read_text()
    assert readme.written(text) == text
    for file in readme.RESULTS.glob("*.json"):
        content = json.loads(file.read_text())
        assert {"date", "command", "machine", "versions", "results"} <= set(content), file
        assert not any(word.startswith("/") for word in content["command"]), file
        for row in content["results"]:
            assert {"model", "task", "ours", "peer", "ratio", "unit", "spread"} <= set(row), file


def test_a_pretraining_on_paper():
    """Ten times the jets are ten times the hours, on ten times the GPUs as many as before."""
    task, machine = Task(), Machine()
    found = model(task, machine, 4e8, 2_000_000)
    more = model(dataclasses.replace(task, jets=1e9), machine, 4e8, 2_000_000)
    many = dataclasses.replace(machine, gpus=1280)
    spread = model(dataclasses.replace(task, jets=1e9), many, 4e8, 2_000_000)
    assert more["hours"] == pytest.approx(10 * found["hours"])
    assert found["hours"] < spread["hours"] < 1.01 * found["hours"]
    assert found["gradient, MB"] == 8
    # 128 × 256 jets of 1.2 GFLOP at 0.3 × 19.5 TFLOP/s, 2 × 8 MB at 25 GB/s and 14 messages
    seconds = 256 * 1.2e9 / 5.85e12 + 16e6 / 25e9 + 14 * 5e-6
    assert found["hours"] == pytest.approx(2e9 / 32768 * seconds / 3600, rel=1e-6)
