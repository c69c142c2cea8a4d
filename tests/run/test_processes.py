"""Devices and processes change nothing; where one ends before its time, the run goes on later.

The training and what may happen to it: `tests.helpers.trained`.
"""

import json
import time

import numpy as np
import pytest

from tests.helpers import trained
from tests.helpers.launch import ended, start


def _run(folder, count, *disturbance, devices=1, name="run"):
    """Exit codes and errors of the processes, and how long it took; the result is in a file."""
    command = ["-m", "tests.helpers.trained", str(folder / name), str(folder / "result.json")]
    begin = time.monotonic()
    environment = {"JAXPRIORS_CACHE": str(folder / "cache")}
    found = ended(start([*command, *map(str, disturbance)], count, devices, environment))
    return [f[0] for f in found], [f[2] for f in found], time.monotonic() - begin


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """An undisturbed run of this process."""
    folder = tmp_path_factory.mktemp("alone")
    return trained.result(folder) | {"gradient": trained.gradient()}


def _alike(found, expected):
    for name in ("train", "validation"):
        assert len(found[name]) == trained.EPOCHS
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)
    for name in ("predicted", "average"):  # logits of events, after all updates
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("count", "devices"), [(1, 8), (2, 2), (4, 1)])
def test_any_number_of_devices_and_processes_is_alike(alone, tmp_path, count, devices):
    codes, errors, _ = _run(tmp_path, count, devices=devices)
    assert codes == [0] * count, errors
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["devices"] == count * devices
    _alike(found, alone)
    for name, expected in alone["gradient"].items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            found["gradient"][name], expected, rtol=0, atol=1e-6 * scale, err_msg=name
        )


def test_disturbed_runs_go_on_with_other_numbers_of_processes(alone, tmp_path):
    """SIGTERM to one of two; one of four killed; the first of two killed; one alone ends it."""
    codes, errors, _ = _run(tmp_path, 2, "term", 1, 2, 1)
    assert codes == [75, 75], errors
    assert "ended by SIGTERM: saved at" in errors[0] and "--resume" in errors[0]
    assert "ended by SIGTERM" not in errors[1]
    steps = [int(p.name) for p in (tmp_path / "run").iterdir()]
    assert max(steps) >= 4  # of three an epoch; none but the last, and the best, are kept

    codes, errors, seconds = _run(tmp_path, 4, "kill", 1, 8, 2)
    assert codes == [1, -9, 1, 1], errors
    assert all("process 1 of 4 (" in errors[i] and "died" in errors[i] for i in (0, 2, 3))
    assert "Traceback" not in errors[0]
    assert seconds < 60
    codes, errors, seconds = _run(tmp_path, 2, "kill", 0, 10, 1)
    assert codes == [-9, 1], errors
    assert "process 0 of 2 (" in errors[1] and "died" in errors[1]
    assert seconds < 60

    _alike(trained.result(tmp_path / "run"), alone)


def test_sigterm_to_one_alone(alone, tmp_path):
    codes, errors, _ = _run(tmp_path, 1, "term", 0, 3, 2, devices=2)
    assert codes == [75]
    assert errors == ["ended by SIGTERM: saved at epoch 3, step 2; go on with --resume\n"]
    _alike(trained.result(tmp_path / "run"), alone)


def test_an_error_in_one_ends_all(tmp_path):
    codes, errors, seconds = _run(tmp_path, 2, "raise", 1, 2, 1)
    assert codes == [1, 1]
    assert "something unforeseen" in errors[0] and "process 1 of 2 (" in errors[0]
    assert "Traceback" in errors[1] and "Traceback" not in errors[0]
    assert seconds < 60


def test_a_batch_that_cannot_be_divided(tmp_path):
    codes, errors, _ = _run(tmp_path, 1, devices=3)
    assert codes == [2]
    assert "batch_size: found 256, whose buckets of" in errors[0]
    assert "cannot be divided among 3 devices; expected a multiple of 48" in errors[0]
