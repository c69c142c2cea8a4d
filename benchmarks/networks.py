"""The networks of arXiv:2603.08802, Table 6, and random jets to run them on.

L-GATr and L-GATr-slim have the sizes of Appendix B, PET those of OmniLearn (arXiv:2404.16091) with
its ten classes. Each maps jets of up to ``PARTICLES`` particles to one row of outputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from benchmarks.measure import Built, compile_timed, program
from jaxpriors.data.batching import UNITS, plan_buckets
from jaxpriors.layers.attention import Mask
from jaxpriors.models.lgatr import LGATr, LGATrConfig
from jaxpriors.models.lgatr_slim import LGATrSlim, LGATrSlimConfig
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.physics.algebra import embed_vector
from jaxpriors.ratio.networks import NetworkConfig
from jaxpriors.ratio.presets import preset
from jaxpriors.training.parallel import (
    data_mesh,
    default_micro_batch,
    devices_for,
    map_rows,
    replicate,
    shard_rows,
)
from jaxpriors.training.step import Precision, initial_state, make_step

PARTICLES = 101
MEAN, SPREAD = 46, 16  # of the multiplicities of jets that are not all full
MODELS = ("lgatr", "lgatr-slim", "pet")
FLOAT32 = Precision()


@dataclass(frozen=True)
class Benchmarked:
    """A network as it is benchmarked.

    init: from a key; forward: (network, momenta, features, multiplicity) to (B, outputs); features:
    number of them of each particle, for L-GATr beyond the four-momentum.
    """

    init: Callable[[Array], Any]
    forward: Callable[..., Array]
    features: int

    def jets(self, batch: int, particles: int = PARTICLES, seed: int = 0) -> tuple[Array, ...]:
        """Draw jets that all have that many particles: arguments of ``forward``."""
        return self.ragged(np.full(batch, particles), particles, seed)

    def ragged(
        self, multiplicity: np.ndarray, particles: int = PARTICLES, seed: int = 0
    ) -> tuple[Array, ...]:
        """Draw jets of these multiplicities (B,), padded to ``particles``.

        Returns four-momenta (B, P, 4), features (B, P, F), multiplicities (B,).
        """
        rng = np.random.default_rng(seed)
        real = (np.arange(particles) < multiplicity[:, None])[..., None]
        momenta = rng.normal(size=(len(multiplicity), particles, 3))
        energy = np.linalg.norm(momenta, axis=-1, keepdims=True)
        features = rng.normal(size=(len(multiplicity), particles, self.features))
        arrays = np.concatenate([energy, momenta], -1) * real, features * real
        momenta32, features32 = (jnp.asarray(a, jnp.float32) for a in arrays)
        return momenta32, features32, jnp.asarray(multiplicity, jnp.int32)


def _lgatr(network: LGATr, momenta: Array, features: Array, multiplicity: Array) -> Array:
    x = embed_vector(momenta)[:, :, None]
    out, _ = network(x, features, Mask(lengths=multiplicity), readout=1)
    return out[:, 0, :, 0]


def _slim(network: LGATrSlim, momenta: Array, features: Array, multiplicity: Array) -> Array:
    _, out = network(momenta[:, :, None], features, Mask(lengths=multiplicity), readout=1)
    return out[:, 0]


def _pet(network: PET, momenta: Array, features: Array, multiplicity: Array) -> Array:
    mask = jnp.arange(features.shape[1]) < multiplicity[:, None]
    logits, _ = network.classify(features, mask, momenta[:, 0])  # any four numbers of the jet
    return logits


def benchmarked(model: str, size: str = "paper") -> Benchmarked:
    """Return one of ``MODELS`` in a size of `ratio.presets`; ValueError for others."""
    return of_config(preset(model, size))


def of_config(config: NetworkConfig, precision: Precision = FLOAT32) -> Benchmarked:
    """Make the network of a configuration; its outputs are float32."""
    if isinstance(config, PETConfig):
        return Benchmarked(
            lambda key: PET.init(key, config, heads=("cls",)),
            _computing(precision, _pet),
            config.num_features,
        )
    if isinstance(config, LGATrConfig):
        return Benchmarked(
            lambda key: LGATr.init(key, config),
            _computing(precision, _lgatr),
            config.in_s_channels or 0,
        )
    assert isinstance(config, LGATrSlimConfig)
    return Benchmarked(
        lambda key: LGATrSlim.init(key, config),
        _computing(precision, _slim),
        config.in_s_channels,
    )


def _computing(precision: Precision, forward: Callable[..., Array]) -> Callable[..., Array]:
    """Compute ``forward`` in this precision."""

    def computed(network: Any, *jets: Array) -> Array:
        with precision.products():
            return forward(*precision.to_compute((network, *jets))).astype("float32")

    return computed


def multiplicities(batch: int, seed: int = 0) -> np.ndarray:
    """Draw realistic numbers of particles (B,): mean ``MEAN``, one of them ``PARTICLES``."""
    drawn = np.random.default_rng(seed).normal(MEAN, SPREAD, batch).round()
    return np.append(np.clip(drawn, 5, PARTICLES)[1:], PARTICLES).astype(np.int32)


def in_buckets(task: Benchmarked, multiplicity: np.ndarray, buckets: int = 4) -> tuple[Any, ...]:
    """Draw jets as trainings have them: few padded lengths, each a part of the batch.

    They are those of ``task.ragged(np.sort(multiplicity))``.
    """
    plan, jets = plan_buckets(multiplicity, buckets), task.ragged(np.sort(multiplicity))
    ends = [0, *(np.cumsum(plan.shares) * len(multiplicity) // UNITS)]
    return tuple(
        (*(a[begin:end, :length] for a in jets[:2]), jets[2][begin:end])
        for begin, end, length in zip(ends, ends[1:], plan.lengths, strict=False)
    )


def loss(task: Benchmarked) -> Callable[[Any, Any, Any], Array]:
    """Make the loss: the sum over jets of the mean square of their outputs."""
    return lambda network, jets, key: jnp.square(task.forward(network, *jets)).mean(-1).sum()


def latency_program(task: Benchmarked, network: Any, jets: Any) -> Built:
    """Make a forward pass of all jets at once, on one device; its result are the outputs."""
    return _forward(jax.jit(lambda n, j: task.forward(n, *j)), network, jets)


def forward_program(
    task: Benchmarked,
    network: Any,
    jets: Any,
    micro_batch: int | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Built:
    """Make a forward pass as predictions do it: in micro-batches, on all devices or on these."""
    mesh = data_mesh(devices_for([len(jets[0])]) if devices is None else devices)
    forward = map_rows(lambda n, j: task.forward(n, *j), mesh, micro_batch)
    return _forward(forward, replicate(network, mesh), shard_rows(jets, mesh))


def _forward(forward: Any, *arguments: Any) -> Built:
    compiled, seconds, memory = compile_timed(forward, *arguments)
    run = program(compiled, *arguments)
    return Built(run, seconds, memory, lambda: np.asarray(compiled(*arguments)))


def train_program(
    task: Benchmarked,
    network: Any,
    parts: tuple[Any, ...],
    micro_batch: int | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Built:
    """Make an Adam step as trainings do it: in micro-batches, on all devices or on these.

    Its result are the losses (2,) of the next two steps, the mean of `loss` over the jets: the
    second one depends on the first one's gradients and update.
    """
    sizes = [len(part[0]) for part in parts]
    mesh = data_mesh(devices_for(sizes) if devices is None else devices)
    micro_batch = micro_batch or default_micro_batch()
    step = make_step(loss(task), optax.adam(1e-4), sum(sizes), mesh, micro_batch)
    # a copy: the step gives its state's memory away
    state = replicate(initial_state(jax.tree.map(jnp.copy, network), optax.adam(1e-4)), mesh)
    batch = shard_rows(parts, mesh)
    compiled, compilation, memory = compile_timed(jax.jit(step, donate_argnums=0), state, batch)

    def run(calls: int) -> float:
        nonlocal state
        begin = time.perf_counter()
        for _ in range(calls):
            state, _ = compiled(state, batch)
        jax.block_until_ready(state)
        return time.perf_counter() - begin

    def losses() -> np.ndarray:
        nonlocal state
        found = []
        for _ in range(2):
            state, metrics = compiled(state, batch)
            found.append(float(metrics["loss"]))
        return np.array(found)

    return Built(run, compilation, memory, losses)
