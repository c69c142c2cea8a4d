"""A small training, as one process of several or alone, that may be disturbed.

    python -m tests.helpers.trained FOLDER RESULT [ACTION PROCESS EPOCH STEP]

``ACTION`` happens to that process (of all: -1) at that step of that epoch: it is killed, told to
end (SIGTERM), or raises. The first process writes the epochs' losses and a gradient.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxpriors.data.batching import TrainingBatches, plan_buckets
from jaxpriors.run import processes
from jaxpriors.run.launch import guarded
from jaxpriors.training.loop import TrainingConfig, train
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.training.parallel import (
    data_mesh,
    local_replica,
    map_rows,
    predict,
    replicate,
    shard_rows,
)
from jaxpriors.training.step import initial_state, make_step
from tests.helpers.jets import random_jets

EVENTS, ROWS, EPOCHS = 600, 256, 12
CONFIG = TrainingConfig(
    OptimizerConfig("adamw", 0.02, 0.01, warmup=0.1),
    batch_size=ROWS,
    epochs=EPOCHS,
    buckets=2,
    micro_batch=8,
    checkpoint_steps=2,
    seed=1,
    ema=0.9,
)


def _sample():
    rng = np.random.default_rng(5)
    jets = random_jets(EVENTS, 0).with_label(rng.integers(0, 2, EVENTS).astype(np.int32))
    weight = rng.normal(1, 0.7, EVENTS)  # some negative, some 0
    weight[::7] = 0
    return jets, TrainingBatches(
        jets, plan_buckets(jets.multiplicity, CONFIG.buckets), ROWS, CONFIG.seed, weight
    )


def _logits(params, batch):
    seen = jnp.log1p(jnp.abs(batch.p4)) @ params["in"]
    there = jnp.arange(seen.shape[1]) < batch.length[:, None]
    return (jnp.tanh(seen) * there[..., None]).sum(1) @ params["out"] + params["bias"]


def _loss(params, batch, keys):
    logits = _logits(params, batch) + 0.1 * jax.vmap(jax.random.normal)(keys)
    return (batch.weight * optax.sigmoid_binary_cross_entropy(logits, batch.label)).sum()


def _start():
    rng = np.random.default_rng(2)
    draw = lambda *shape: jnp.asarray(0.3 * rng.normal(size=shape), jnp.float32)  # noqa: E731
    return {"in": draw(4, 6), "out": draw(6), "bias": draw()}


def gradient():
    """The gradient of the first batch, as what gradient descent of rate 1 takes away."""
    _, batches = _sample()
    rows, mesh, optimizer = batches.rows, data_mesh(jax.devices()), optax.sgd(1.0)
    own_batches = batches.of_process(processes.index(), processes.count())
    batch = shard_rows(own_batches.epoch(0)(0), mesh)
    state = replicate(initial_state(_start(), optimizer), mesh)
    after, _ = jax.jit(make_step(_loss, optimizer, rows, mesh, CONFIG.micro_batch))(state, batch)
    found = local_replica(after.params)
    return {name: np.asarray(value - found[name]).tolist() for name, value in _start().items()}


def result(folder, progress=lambda record: None):
    """Losses of all epochs, and what the best network and the average say of all events."""
    jets, batches = _sample()
    forward = map_rows(lambda params, batch: _logits(params, batch)[:, None])
    said = lambda params: predict(forward, params, jets, batches.buckets.lengths)[:, 0]  # noqa: E731

    def validation_loss(params):
        logits = said(params)
        return float(np.mean(np.logaddexp(0, logits) - jets.label * logits))

    trained = train(_start(), _loss, batches, validation_loss, CONFIG, Path(folder), progress)
    return {
        "train": [r["train_loss"] for r in trained.history],
        "validation": [r["validation_loss"] for r in trained.history],
        "predicted": said(trained.params).tolist(),
        "average": said(trained.average).tolist(),
    }


def _disturbed(action, process, epoch, step):
    told = False

    def progress(record):
        nonlocal told
        if "steps" not in record:
            return
        if told:
            time.sleep(0.5)  # a signal takes its time, and more where the cores are busy
        here = int(process) in (-1, processes.index())
        if (record["epoch"], record["step"]) == (int(epoch), int(step)):
            told = True
            if here and action == "raise":
                raise KeyError("something unforeseen")
            if here and action in ("kill", "term"):
                os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGTERM)

    return progress


def main(folder, out, *disturbance):
    """Train, and write what came out."""
    found = result(folder, _disturbed(*disturbance) if disturbance else lambda record: None)
    found["gradient"] = gradient()
    found["devices"] = jax.device_count()
    if processes.index() == 0:
        Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    jax.config.update("jax_disable_most_optimizations", True)
    sys.exit(guarded(lambda: main(*sys.argv[1:])))
