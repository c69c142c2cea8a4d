"""Lion and AdamW with a cosine schedule and weight decay on the weights alone."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import optax

from jaxpriors.errors import InputError


@dataclass(frozen=True)
class OptimizerConfig:
    """The update rule; defaults are those of arXiv:2603.08802, Appendix B, for L-GATr.

    The learning rate rises linearly over ``warmup`` (a fraction of all steps) and falls to
    ``final_rate`` of its peak along a cosine. ``clip``: largest global norm of a gradient.
    Weight decay is decoupled and acts on weights, not on biases, norms' gains or head scales.
    """

    rule: Literal["lion", "adamw"] = "lion"
    learning_rate: float = 3e-5
    weight_decay: float = 0.1
    warmup: float = 0.0
    final_rate: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.rule not in ("lion", "adamw"):
            raise InputError(f"rule: found {self.rule!r}, expected 'lion' or 'adamw'")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(
                f"learning_rate: found {self.learning_rate}, expected a positive number"
            )


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """The learning rate of each of ``steps`` updates."""
    peak = config.learning_rate
    warmup = round(config.warmup * steps)
    if warmup == 0:
        return optax.cosine_decay_schedule(peak, max(steps, 1), alpha=config.final_rate)
    return optax.warmup_cosine_decay_schedule(
        0.0, peak, warmup, max(steps, warmup + 1), end_value=peak * config.final_rate
    )


def decayed(params: Any) -> Any:
    """True for the parameters that weight decay acts on: those named ``weight…`` of a map.

    The affine gains of norms are called weight as well; they live in fields named ``norm…``.
    """

    def one(path: tuple[Any, ...], _: Any) -> bool:
        names = [getattr(p, "name", "") for p in path]
        return names[-1].startswith("weight") and not any(n.startswith("norm") for n in names)

    return jax.tree_util.tree_map_with_path(one, params)


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The update rule for a training of ``steps`` updates."""
    rate = schedule(config, steps)
    make = optax.lion if config.rule == "lion" else optax.adamw
    rule = make(rate, weight_decay=config.weight_decay, mask=decayed)
    if config.clip is None:
        return rule
    return optax.chain(optax.clip_by_global_norm(config.clip), rule)
