"""A batch many times what a device works on at once has the gradient of the whole."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from jaxpriors.data.batching import gather
from jaxpriors.generation.pretraining import Pretraining, make_pretraining_loss
from jaxpriors.models.pet import PET
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.examples import make_loss
from jaxpriors.ratio.presets import preset
from jaxpriors.training.parallel import data_mesh, replicate, shard_rows
from jaxpriors.training.step import Precision, initial_state, make_step
from tests.helpers.jets import random_jets
from tests.helpers.ratios import NETWORKS

ROWS, CHUNK = 128, 2
SMALL = {
    "lgatr": dataclasses.replace(NETWORKS["lgatr"], num_blocks=1),
    "lgatr-slim": dataclasses.replace(NETWORKS["lgatr-slim"], num_blocks=1, dropout_prob=0.2),
    "pet": dataclasses.replace(NETWORKS["pet"], num_local=1, drop_path=0.2),
    "mlp": preset("mlp", "small"),
}


def _jets():
    jets = random_jets(ROWS, 0, 8).with_label(np.arange(ROWS, dtype=np.int32) % 2)
    numbers = {"a": jets.multiplicity.astype(float), "b": jets.p4[jets.offsets[:-1], 0]}
    return dataclasses.replace(jets, columns=numbers)


def _weights(shape=(ROWS,)):
    """Of either sign, large and small, some 0, as are those of whole chunks."""
    rng = np.random.default_rng(1)
    weight = rng.normal(1, 1, shape) * rng.choice([1e-3, 1, 30], shape)
    weight[::5] = 0
    weight[8:16] = 0
    return weight


def _classifier(model, networks=None):
    inputs = ColumnsConfig(("a", "b")) if model == "mlp" else None
    one = RatioClassifier(model, network=SMALL[model], inputs=inputs, ensemble=networks)
    jets = _jets()
    preprocessing = Preprocessing(one.inputs, one.inputs.learn(jets))
    loss = make_loss(preprocessing, Precision(), drops=model in ("lgatr-slim", "pet"))
    return one._start(None)[0], loss, _weights((ROWS, networks) if networks else (ROWS,))


def _pretraining():
    network = dataclasses.replace(NETWORKS["pet"], num_classes=2, num_local=1, feature_drop=0.3)
    config = Pretraining(network=network)
    preprocessing = Preprocessing(PointCloudConfig(), PointCloudConfig().learn(_jets()))
    network = PET.init(jax.random.key(0), config.network)
    return network, make_pretraining_loss(preprocessing, 8.0, config), _weights()


def _gradient(params, loss, weight, chunk, devices):
    """The update of gradient descent of rate 1, and the loss."""
    jets, mesh, optimizer = _jets(), data_mesh(jax.devices()[:devices]), optax.sgd(1.0)
    batch = gather(jets, np.arange(ROWS), int(jets.multiplicity.max()), weight=weight)
    zero = jax.tree.map(lambda x: np.zeros_like(x), params)  # nothing is lost in a sum

    def shifted(difference, rows, keys):
        return loss(jax.tree.map(lambda a, b: a + b, params, difference), rows, keys)

    step = jax.jit(make_step(shifted, optimizer, ROWS, mesh, chunk))
    state = replicate(initial_state(zero, optimizer, seed=4), mesh)
    after, metrics = step(state, shard_rows((batch,), mesh))
    found = [np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(after.params)]
    return np.concatenate(found), float(metrics["loss"])


@pytest.mark.parametrize(
    "problem",
    [*SMALL, "mlp of two", "pretraining"],
)
def test_accumulated_gradients_are_those_of_the_large_batch(problem):
    if problem == "pretraining":
        given = _pretraining()
    else:
        given = _classifier(problem.split()[0], 2 if problem.endswith("two") else None)
    whole, loss = _gradient(*given, None, 1)
    assert np.linalg.norm(whole) > 0
    found, value = _gradient(*given, CHUNK, 2)  # 32 chunks on each of two devices
    assert np.linalg.norm(found - whole) < 1e-6 * np.linalg.norm(whole)
    assert value == pytest.approx(loss, rel=1e-6)
