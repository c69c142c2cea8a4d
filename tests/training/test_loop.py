"""A training that is killed and called again ends where an undisturbed one ends."""

import dataclasses
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.training import loop
from jaxpriors.training.checkpoints import Checkpoints, flatten
from jaxpriors.training.loop import TrainingConfig, TrainingError, train
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.training.step import Best

WRITTEN = Path(__file__).parents[1] / "fixtures/written/checkpoint"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 3)).astype(np.float32)
Y = (X @ np.array([1.0, -2.0, 0.5]) + 0.3).astype(np.float32)
PARAMS = {"weight": jnp.zeros(3), "bias": jnp.zeros(())}
CONFIG = TrainingConfig(
    OptimizerConfig("adamw", 0.05, 0.01), batch_size=16, epochs=4, checkpoint_steps=2, seed=1
)


def _loss(params, part, keys):
    noise = 0.01 * jax.vmap(jax.random.normal)(keys)
    return ((part["x"] @ params["weight"] + params["bias"] + noise - part["y"]) ** 2).sum()


@dataclasses.dataclass
class Sample:
    """Batches of the sample in an order that follows from the epoch."""

    y: np.ndarray
    steps: int = 6
    rows: float = 16.0

    def epoch(self, epoch):
        order = np.random.default_rng(epoch).permutation(96).reshape(6, 16)
        return lambda k: ({"x": X[order[k]], "y": self.y[order[k]]},)


def _validate(params):
    return float(jnp.mean((X @ params["weight"] + params["bias"] - Y) ** 2))


def _train(
    folder, config=CONFIG, progress=lambda record: None, y=Y, validate=_validate, identity=""
):
    return train(PARAMS, _loss, Sample(y), validate, config, folder, progress, identity)


def test_a_training_of_the_same_kind_is_not_compiled_again(tmp_path):
    first = _train(tmp_path / "a")
    compiled = loop._compiled.cache_info()
    assert np.array_equal(_train(tmp_path / "b").params["weight"], first.params["weight"])
    _train(tmp_path / "c", y=Y + 1)
    slower = dataclasses.replace(
        CONFIG.optimizer, learning_rate=1e-3, final_rate=1.0, weight_decay=0.5
    )
    other = _train(tmp_path / "s", dataclasses.replace(CONFIG, optimizer=slower, epochs=1))
    assert not np.array_equal(other.params["weight"], first.params["weight"])
    again = loop._compiled.cache_info()
    assert (again.hits, again.misses) == (compiled.hits + 3, compiled.misses)
    _train(tmp_path / "d", dataclasses.replace(CONFIG, ema=0.5))
    assert loop._compiled.cache_info().misses == compiled.misses + 1


class Killed(BaseException):
    """What a kill is to the loop: it does not come back."""


@pytest.mark.parametrize(("at", "ema"), [((1, 1), None), ((2, 3), 0.9), ((4, 5), None)])
def test_killed_and_called_again(tmp_path, at, ema):
    config = dataclasses.replace(CONFIG, ema=ema)
    whole = _train(tmp_path / "whole", config)

    def kill(record):
        if record.get("step") == at[1] and record.get("epoch") == at[0] and "steps" in record:
            raise Killed

    with pytest.raises(Killed):
        _train(tmp_path / "killed", config, progress=kill)
    again = _train(tmp_path / "killed", config)
    assert [r["validation_loss"] for r in again.history] == [
        r["validation_loss"] for r in whole.history
    ]
    assert [r["train_loss"] for r in again.history] == [r["train_loss"] for r in whole.history]
    for name, value in flatten(whole.params).items():
        np.testing.assert_array_equal(flatten(again.params)[name], value)
    assert (whole.average is None) == (ema is None)
    for name, value in flatten(whole.average).items():
        np.testing.assert_array_equal(flatten(again.average)[name], value)


def test_a_training_that_an_earlier_version_was_killed_in_goes_on(tmp_path):
    """The fixture is `_train` of version 0.1, killed in epoch 2 at step 3 after it saved step 8."""
    shutil.copytree(WRITTEN, tmp_path / "killed")
    again, whole = _train(tmp_path / "killed"), _train(tmp_path / "whole")
    assert again.history[0]["seconds"] != whole.history[0]["seconds"]
    assert len(again.history) == len(whole.history) == CONFIG.epochs
    for kind in ("train_loss", "validation_loss"):
        found, expected = ([r[kind] for r in one.history] for one in (again, whole))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    for name, value in flatten(whole.params).items():
        np.testing.assert_allclose(flatten(again.params)[name], value, rtol=1e-5)


def test_a_configuration_that_had_another_name_is_the_same_training(tmp_path):
    """The columns of an MLP were called numbers."""
    one = dataclasses.replace(CONFIG, epochs=1)
    before = _train(tmp_path, one, identity="NumbersConfig(columns=('x',)) on 1")
    again = _train(tmp_path, one, identity="ColumnsConfig(columns=('x',)) on 1")
    assert again.history == before.history
    with pytest.raises(InputError, match="training on other data or with other settings"):
        _train(tmp_path, one, identity="ColumnsConfig(columns=('y',)) on 1")


def test_the_average_changes_nothing_else(tmp_path):
    plain = _train(tmp_path / "plain")
    averaged = _train(tmp_path / "averaged", dataclasses.replace(CONFIG, ema=0.5))
    for name, value in flatten(plain.params).items():
        np.testing.assert_array_equal(flatten(averaged.params)[name], value)
        assert np.any(averaged.average[name] != value)
    with pytest.raises(InputError, match=r"ema: found 1\.0, expected a finite number at least 0"):
        dataclasses.replace(CONFIG, ema=1.0)


def test_it_learns_and_gives_the_best_epoch(tmp_path):
    losses = iter([3.0, 1.0, 2.0, 4.0])
    kept = []

    def validate(params):
        kept.append(jax.tree.map(np.asarray, params))
        return next(losses)

    trained = _train(tmp_path / "run", validate=validate)
    assert [r["best"] for r in trained.history] == [True, True, False, False]
    for name, value in flatten(trained.params).items():
        np.testing.assert_array_equal(value, kept[1][name])
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"] / 2


def test_it_stops_early(tmp_path):
    losses = iter([1.0, 2.0, 3.0, 4.0])
    config = dataclasses.replace(CONFIG, patience=2)
    trained = _train(tmp_path / "run", config, validate=lambda params: next(losses))
    assert len(trained.history) == 3


def test_a_finished_training_is_not_repeated(tmp_path):
    first = _train(tmp_path / "run")
    again = _train(tmp_path / "run", validate=lambda params: pytest.fail("validated again"))
    assert again.history == first.history
    np.testing.assert_array_equal(again.params["weight"], first.params["weight"])


def test_nan_stops_with_step_and_cause(tmp_path):
    spoilt = Y.copy()
    spoilt[np.random.default_rng(0).permutation(96).reshape(6, 16)[3, 0]] = np.nan
    with pytest.raises(TrainingError, match=r"epoch 1, step 4: .*the batch holds values of y"):
        _train(tmp_path / "run", y=spoilt)
    wild = dataclasses.replace(CONFIG, optimizer=OptimizerConfig("adamw", 1e30, 0.0))
    with pytest.raises(TrainingError, match="the inputs are finite, the network's loss is not"):
        _train(tmp_path / "wild", wild)


def test_the_last_good_checkpoint_survives_a_nan(tmp_path):
    losses = iter([1.0, float("nan")])
    with pytest.raises(TrainingError, match=r"validation loss is nan after epoch 2 \(step 12\)"):
        _train(tmp_path / "run", validate=lambda params: next(losses))
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert checkpoints.best() == 6


def test_the_best_of_each_network_survives_a_nan_of_one(tmp_path):
    """A NaN is less than nothing: it never becomes the best one."""
    validate, _ = _scripted([(1, 9), (2, float("nan"))])
    with pytest.raises(TrainingError, match="validation loss is nan after epoch 2"):
        _train_two(tmp_path / "run", validate)
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert checkpoints.best() == 6
    now = Best.before(TWO).after(jnp.array([1.0, 9.0]), TWO)
    after = now.after(jnp.array([jnp.nan, 8.0]), jax.tree.map(lambda x: x + 1, TWO))
    assert after.losses.tolist() == [1.0, 8.0]
    assert np.array_equal(after.params["bias"], TWO["bias"] + np.array([0, 1]))


def test_only_the_last_and_the_best_checkpoint_are_kept(tmp_path):
    losses = iter([2.0, 1.0, 3.0, 4.0])
    _train(tmp_path / "run", validate=lambda params: next(losses))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["12", "24"]


def test_another_network_does_not_fit_the_checkpoint(tmp_path):
    _train(tmp_path / "run")
    other = {"weight": jnp.zeros(4), "bias": jnp.zeros(())}
    with pytest.raises(InputError, match=r"array .*weight is float32\[3\], expected float32\[4\]"):
        train(other, _loss, Sample(Y), _validate, CONFIG, tmp_path / "run")


TWO = jax.tree.map(lambda x: jnp.stack([x, x + 1]), PARAMS)


def _loss_of_two(params, part, keys):
    return jax.vmap(lambda one: _loss(one, part, keys))(params).mean()


def _train_two(folder, validate, progress=lambda record: None, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    options = {"stacked": True, "each_best": True}
    return train(TWO, _loss_of_two, Sample(Y), validate, config, folder, progress, **options)


def _scripted(losses):
    """Validation losses (epochs, 2) that were decided before; keeps what was validated."""
    kept = []

    def validate(params):
        kept.append(jax.tree.map(np.asarray, params))
        return np.array(losses[len(kept) - 1])

    return validate, kept


def test_each_network_keeps_its_own_best_epoch(tmp_path):
    validate, kept = _scripted([(3, 9), (2, 8), (4, 1), (5, 6)])
    trained = _train_two(tmp_path, validate)
    for i, epoch in enumerate((1, 2)):
        assert np.array_equal(trained.params["weight"][i], kept[epoch]["weight"][i])
    assert [r["validation_loss"] for r in trained.history] == [6, 5, 2.5, 5.5]
    assert trained.history[1]["validation_losses"] == [2, 8]


def test_patience_ends_when_no_network_gets_better(tmp_path):
    losses = [(3, 9), (2, 9.5), (4, 9.5), (5, 1), (6, 2), (6, 3), (6, 4)]
    validate, _ = _scripted(losses)
    trained = _train_two(tmp_path, validate, patience=2, epochs=7)
    assert len(trained.history) == 6  # two after the fourth, in which the second was best


def test_own_best_epochs_survive_a_kill(tmp_path):
    losses = [(1, 9), (2, 8), (4, 7), (5, 6)]
    whole = _train_two(tmp_path / "whole", _scripted(losses)[0])

    def kill(record):
        if record.get("epoch") == 3 and record.get("step") == 3 and "steps" in record:
            raise Killed

    with pytest.raises(Killed):
        _train_two(tmp_path / "killed", _scripted(losses)[0], kill)
    again = _train_two(tmp_path / "killed", _scripted(losses[2:])[0])
    assert np.array_equal(again.params["weight"], whole.params["weight"])
    finished = _train_two(tmp_path / "killed", _scripted([])[0])
    assert np.array_equal(finished.params["weight"], whole.params["weight"])
