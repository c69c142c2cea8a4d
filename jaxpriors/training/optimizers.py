"""Lion and AdamW with a cosine schedule and weight decay on the weights alone."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.layers.core import module


@dataclass(frozen=True)
class OptimizerConfig:
    """The update rule; defaults are those of arXiv:2603.08802, Appendix B, for L-GATr.

    The learning rate rises linearly from ``initial_rate`` of its peak over ``warmup`` (a fraction
    of all steps) and falls to ``final_rate`` of its peak along a cosine. ``betas``: decay rates of
    the moments, None for the rule's own. ``clip``: largest global norm of a gradient.
    Weight decay is decoupled and acts on weights, not on biases, norms' gains or head scales;
    with ``decay_all`` on every parameter. The parameters of a network's ``body`` learn
    ``body_factor`` times slower than the rest and decay as fast.
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

    def __post_init__(self) -> None:
        if self.rule not in ("lion", "adamw"):
            raise InputError(f"rule: found {self.rule!r}, expected 'lion' or 'adamw'")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(
                f"learning_rate: found {self.learning_rate}, expected a positive number"
            )
        if not 0 < self.body_factor < math.inf:
            raise InputError(f"body_factor: found {self.body_factor}, expected a positive number")


@module
class Course:
    """The numbers of a schedule, which are data: a step is compiled once for all schedules.

    peak, start and end are learning rates; warmup and steps are numbers of updates.
    """

    peak: Array
    start: Array
    end: Array
    warmup: Array
    steps: Array

    @classmethod
    def of(cls, config: OptimizerConfig, steps: int) -> "Course":
        """That of a training of ``steps`` updates."""
        peak, warmup = config.learning_rate, round(config.warmup * steps)
        rates = peak, peak * config.initial_rate, peak * config.final_rate
        return cls(*(jnp.float32(x) for x in (*rates, warmup, max(steps, warmup + 1))))

    def rate(self, count: Array | int) -> Array:
        """The learning rate of the update with this number, from 0."""
        rising = self.start + (self.peak - self.start) * count / jnp.maximum(self.warmup, 1)
        part = jnp.clip((count - self.warmup) / (self.steps - self.warmup), 0, 1)
        falling = self.end + (self.peak - self.end) * 0.5 * (1 + jnp.cos(jnp.pi * part))
        return jnp.where(count < self.warmup, rising, falling)


@module
class CourseState:
    """Updates made, and the schedule that they follow."""

    count: Array
    course: Course


def follow(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Multiply updates by minus the learning rate of the state's schedule, which ``init`` sets."""

    def init(params: Any) -> CourseState:
        return CourseState(jnp.zeros((), jnp.int32), Course.of(config, steps))

    def update(updates: Any, state: CourseState, params: Any = None) -> tuple[Any, CourseState]:
        rate = state.course.rate(state.count)
        found = jax.tree.map(lambda x: (-rate * x).astype(x.dtype), updates)
        return found, CourseState(state.count + 1, state.course)

    return optax.GradientTransformation(init, update)


def without_schedule(config: OptimizerConfig) -> OptimizerConfig:
    """The rule alone: what its ``update`` is compiled for."""
    return dataclasses.replace(
        config, learning_rate=1.0, warmup=0.0, initial_rate=0.0, final_rate=0.0
    )


def decayed(params: Any) -> Any:
    """True for the parameters that weight decay acts on: those named ``weight…`` of a map.

    The gains of norms and layer scales are called weight as well; they live in fields named
    ``norm…`` and ``ls…``.
    """

    def one(path: tuple[Any, ...], _: Any) -> bool:
        names = [getattr(p, "name", "") for p in path]
        gains = any(n.startswith(("norm", "ls")) for n in names)
        return names[-1].startswith("weight") and not gains

    return jax.tree_util.tree_map_with_path(one, params)


def scale_body(factor: float) -> optax.GradientTransformation:
    """Multiply the updates of the parameters with a field ``body`` on their path by ``factor``."""

    def one(path: tuple[Any, ...], update: Any) -> Any:
        return update * factor if any(getattr(p, "name", "") == "body" for p in path) else update

    return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(one, updates))


def each_alone(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """The rule for the parameters of k networks, stacked along a leading axis, each by itself.

    The gradients are those of the mean of the networks' losses: each network's own are k times as
    large.
    """

    def update(gradients: Any, state: Any, params: Any) -> Any:
        own = jax.tree.map(lambda x: x * x.shape[0], gradients)
        return jax.vmap(rule.update)(own, state, params)

    return optax.GradientTransformation(jax.vmap(rule.init), update)


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The update rule for a training of ``steps`` updates."""
    scale = optax.scale_by_lion if config.rule == "lion" else optax.scale_by_adam
    stages = [scale() if config.betas is None else scale(*config.betas)]
    if config.body_factor != 1.0:
        stages.append(scale_body(1 / config.body_factor))  # before the decay, which stays
    decay_mask = None if config.decay_all else decayed
    stages.append(optax.add_decayed_weights(config.weight_decay, decay_mask))
    rule = optax.chain(*stages, follow(config, steps))
    if config.clip is None:
        return rule
    return optax.chain(optax.clip_by_global_norm(config.clip), rule)
