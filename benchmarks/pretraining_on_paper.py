"""Estimate the time of a pretraining of OmniLearn's size on many GPUs, and of ten times that.

    python -m benchmarks.pretraining_on_paper

A model, not a measurement: operations of the objective as XLA counts them for one jet, the data
sheets of the machine, and the assumptions of ``Machine`` and ``Task``. In each step a GPU computes
its rows; then all add up their gradients, and nothing is assumed to hide that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import tyro

from benchmarks.measure import flops
from jaxpriors.data.batching import Batch
from jaxpriors.generation.pretraining import Pretraining, make_pretraining_loss
from jaxpriors.models.pet import PET
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.preprocessing.standardisation import Standardisation

FACTOR = 3  # operations of a step over those of its forward pass
NUMBERS = 5  # of a constituent: four-vector and identity, 4 bytes each


@dataclass(frozen=True)
class Machine:
    """GPUs and what is between them.

    rate: FLOP/s of float32 products (A100). used: share of it that a step gets. link: bytes/s of
    a GPU's own network link (Slingshot 11). hop: seconds of a message. host: GPUs of a machine.
    failures: unforeseen ends per GPU and hour (arXiv:2407.21783: 419 in 54 days of 16384 GPUs).
    """

    gpus: int = 128
    rate: float = 19.5e12
    used: float = 0.3
    link: float = 25e9
    hop: float = 5e-6
    host: int = 4
    failures: float = 419 / (54 * 24 * 16384)


@dataclass(frozen=True)
class Task:
    """Jets, epochs, and jets of a GPU's batch; mean constituents of a jet, padded and real."""

    jets: float = 1e8
    epochs: int = 20
    rows: int = 256
    padded: int = 48
    real: int = 40


def counted(padded: int) -> tuple[float, int]:
    """Count the operations of the objective of one jet, forward, and PET's parameters."""
    config = Pretraining("paper")
    network_config = config.network
    one = Batch(
        p4=jnp.ones((1, padded, 4)),
        pid=jnp.zeros((1, padded), jnp.int32),
        length=jnp.full(1, padded),
        jet_p4=jnp.ones((1, 4)),
        jet_mass=jnp.ones(1),
        columns=jnp.zeros((1, 0)),
        label=jnp.zeros(1),
        weight=jnp.ones(1),
    )
    shapes = jax.eval_shape(lambda key: PET.init(key, network_config), jax.random.key(0))
    unit = Standardisation((0.0,) * 4, (1.0,) * 4)
    loss = make_pretraining_loss(Preprocessing(PointCloudConfig(), unit), padded, config)
    operations = flops(loss, shapes, one, jax.random.split(jax.random.key(0), 1))
    return operations, sum(x.size for x in jax.tree.leaves(shapes))


def model(task: Task, machine: Machine, forward: float, parameters: int) -> dict[str, float]:
    """Compute seconds, bytes and rates of a step and of the whole."""
    n = machine.gpus
    compute = task.rows * FACTOR * forward / (machine.used * machine.rate)
    gradient = 4 * parameters
    ring = 2 * (n - 1) * (gradient / n / machine.link + machine.hop)
    tree = 2 * gradient / machine.link + 2 * math.ceil(math.log2(n)) * machine.hop
    step = compute + min(ring, tree)
    steps = task.epochs * task.jets / (task.rows * n)
    hours = steps * step / 3600
    per_host = machine.host * task.rows / step
    return {
        "global batch, jets": task.rows * n,
        "steps": steps,
        "compute, ms a step": 1e3 * compute,
        "gradient, MB": gradient / 1e6,
        "all-reduce in a ring, ms": 1e3 * ring,
        "all-reduce in a tree, ms": 1e3 * tree,
        "share of the all-reduce": min(ring, tree) / step,
        "jets/s of all": n * task.rows / step,
        "jets/s of a host's loader": per_host,
        "MB/s that a host reads": per_host * task.real * NUMBERS * 4 / 1e6,
        "MB/s to each GPU": per_host / machine.host * task.padded * NUMBERS * 4 / 1e6,
        "sample, GB": task.jets * task.real * NUMBERS * 4 / 1e9,
        "hours": hours,
        "GPU-hours": hours * n,
        "failures expected": hours * n * machine.failures,
    }


def on_paper(task: Task = Task(), machine: Machine = Machine()) -> int:
    """Print the model for the task, for ten times its jets, and for these on ten times the GPUs."""
    forward, parameters = counted(task.padded)
    print(f"{forward:.3g} FLOP forward, {parameters} parameters")
    large, many = replace(task, jets=10 * task.jets), replace(machine, gpus=10 * machine.gpus)
    few = replace(large, rows=max(task.rows // 10, 1))
    columns = [
        model(*one, forward, parameters)
        for one in ((task, machine), (large, machine), (large, many), (few, many))
    ]
    for name in columns[0]:
        print(f"{name:<28}" + "".join(f"{column[name]:>12.4g}" for column in columns))
    return 0


if __name__ == "__main__":
    raise SystemExit(tyro.cli(on_paper))
