"""Lion and AdamW with a cosine schedule and weight decay on the weights alone."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.run.ranges import check_number

LEAST, MOST = 1e-37, 1e38  # of numbers that float32 holds
NUMBERS = ("learning_rate", "warmup", "initial_rate", "final_rate", "cosine", "weight_decay")
"""Fields of `OptimizerConfig` whose numbers are in the optimizer's state, not in its program."""


@dataclass(frozen=True)
class OptimizerConfig:
    """The update rule and its schedule.

    The learning rate rises linearly from ``initial_rate`` of its peak over ``warmup`` (a fraction
    of all steps) and falls to ``final_rate`` of its peak along a cosine, whose length is ``cosine``
    (a fraction of all steps; None: the steps after the warm-up). A longer cosine is cut at the last
    step. ``betas``: decay rates of the moments, None for the rule's own. ``clip``: largest global
    norm of a gradient. Weight decay is decoupled and acts on weights, not on biases, norms' gains
    or head scales; with ``decay_all`` on every parameter. The parameters of a network's ``body``
    learn ``body_factor`` times slower than the rest; they decay as fast, unless ``slow_decay``.
    """

    rule: Literal["lion", "adamw"] = "lion"
    learning_rate: float = 3e-5
    weight_decay: float = 0.1
    warmup: float = 0.0
    final_rate: float = 0.0
    clip: float | None = None
    initial_rate: float = 0.0
    betas: tuple[float, float] | None = None
    decay_all: bool = False
    body_factor: float = 1.0
    cosine: float | None = None
    slow_decay: bool = False

    def __post_init__(self) -> None:
        if self.rule not in ("lion", "adamw"):
            raise InputError(f"rule: found {self.rule!r}, expected 'lion' or 'adamw'")
        check_number("learning_rate", self.learning_rate, LEAST, MOST)
        check_number("body_factor", self.body_factor, LEAST, MOST)
        for name in ("weight_decay", "initial_rate", "final_rate"):
            check_number(name, getattr(self, name), 0, MOST)
        check_number("warmup", self.warmup, 0, 1)
        if self.cosine is not None:
            check_number("cosine", self.cosine, 0, MOST, open_at=(0,))
        if self.clip is not None:
            check_number("clip", self.clip, 0, MOST, open_at=(0,))
        if self.betas is not None and len(self.betas) != 2:
            raise InputError(f"betas: found {self.betas}, expected two decay rates, or none")
        for beta in self.betas or ():
            check_number("betas", beta, 0, 1, open_at=(1,))


def schedule(config: OptimizerConfig, steps: int) -> dict[str, Array]:
    """Return the arguments of ``learning_rate`` for a training of ``steps`` updates, float32."""
    peak, warmup = config.learning_rate, round(config.warmup * steps)
    end = steps if config.cosine is None else warmup + round(config.cosine * steps)
    numbers = {
        "peak": peak,
        "start": peak * config.initial_rate,
        "end": peak * config.final_rate,
        "warmup": warmup,
        "steps": max(end, warmup + 1),
    }
    return {name: jnp.float32(value) for name, value in numbers.items()}


def learning_rate(
    count: Array | int, peak: Array, start: Array, end: Array, warmup: Array, steps: Array
) -> Array:
    """Return the learning rate of update number ``count``, from 0.

    It rises linearly from start to peak over ``warmup`` updates and falls along a cosine to end at
    ``steps``. All arguments may be traced, which those of optax's own schedules may not.
    """
    rising = start + (peak - start) * count / jnp.maximum(warmup, 1)
    part = jnp.clip((count - warmup) / (steps - warmup), 0, 1)
    falling = end + (peak - end) * 0.5 * (1 + jnp.cos(jnp.pi * part))
    return jnp.where(count < warmup, rising, falling)


def decayed(params: Any) -> Any:
    """Return True for the parameters that weight decay acts on: those named ``weight…`` of a map.

    The gains of norms and layer scales are called weight as well; they live in fields named
    ``norm…`` and ``ls…``.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    fields = [[getattr(key, "name", "") for key in path] for path, _ in leaves]
    gains = [any(name.startswith(("norm", "ls")) for name in names) for names in fields]
    weights = [names[-1].startswith("weight") for names in fields]
    chosen = [w and not g for w, g in zip(weights, gains, strict=True)]
    return jax.tree.unflatten(structure, chosen)


def scale_body(factor: float) -> optax.GradientTransformation:
    """Multiply the updates of the parameters with a field ``body`` on their path by ``factor``."""

    def one(path: tuple[Any, ...], update: Any) -> Any:
        return update * factor if any(getattr(p, "name", "") == "body" for p in path) else update

    return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(one, updates))


def each_alone(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return the rule for the parameters of k networks, stacked along a leading axis.

    Each network is updated by itself. The gradients are those of the mean of the networks' losses:
    each network's own are k times as large.
    """

    def update(gradients: Any, state: Any, params: Any) -> Any:
        own = jax.tree.map(lambda x: x * x.shape[0], gradients)
        return jax.vmap(rule.update)(own, state, params)

    return optax.GradientTransformation(jax.vmap(rule.init), update)


def make_optimizer(
    config: OptimizerConfig, steps: int, stacked: bool = False
) -> optax.GradientTransformation:
    """Return the update rule for a training of ``steps`` updates.

    The numbers of the schedule and the weight decay are in the optimizer's state, set by ``init``;
    ``update`` reads them there, so that a compiled step serves all. stacked: as in ``each_alone``.
    """
    scale = optax.scale_by_lion if config.rule == "lion" else optax.scale_by_adam
    stages = [scale() if config.betas is None else scale(*config.betas)]
    slowed = optax.identity() if config.body_factor == 1.0 else scale_body(1 / config.body_factor)
    before, after = [slowed, optax.identity()][:: -1 if config.slow_decay else 1]
    if config.body_factor != 1.0:
        stages.append(before)
    stages.append(optax.identity())  # where the decay was in the states of the first versions

    def descent(
        decay: Any, peak: Any, start: Any, end: Any, warmup: Any, steps: Any
    ) -> optax.GradientTransformation:
        decaying = optax.add_decayed_weights(decay, None if config.decay_all else decayed)
        descending = optax.scale_by_schedule(
            lambda count: -learning_rate(count, peak, start, end, warmup, steps)
        )

        def update(updates: Any, state: Any, params: Any) -> Any:
            for stage in (decaying, after):
                updates, _ = stage.update(updates, stage.init(params), params)
            return descending.update(updates, state)

        return optax.GradientTransformation(descending.init, update)

    descend = optax.inject_hyperparams(descent, hyperparam_dtype=jnp.float32)
    decay = jnp.float32(config.weight_decay)
    rule = optax.chain(*stages, descend(decay=decay, **schedule(config, steps)))
    if config.clip is not None:
        rule = optax.chain(optax.clip_by_global_norm(config.clip), rule)
    return each_alone(rule) if stacked else rule
