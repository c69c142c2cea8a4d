"""The numbers of a training that users change; without JAX, so that commands can ask for them."""

from dataclasses import dataclass
from typing import Literal

Compute = Literal["float32", "tensorfloat32", "bfloat16"]


@dataclass(frozen=True)
class TrainingOptions:
    """Change the training of a model and size; None leaves a number as it is.

    Args:
        epochs: of every training (of an unfolding: of the first iteration).
        batch_size: events of an update, a multiple of 16.
        micro_batch: events that a device works on at once, over which it accumulates the gradient
            of a batch; otherwise what `jaxpriors tune` found (for reweighting, unfolding and
            pretraining), else 8 on CPUs and all on GPUs.
        learning_rate: at its peak.
        seed: of the split into parts, the weights and the order of events.
    """

    epochs: int | None = None
    batch_size: int | None = None
    micro_batch: int | None = None
    learning_rate: float | None = None
    seed: int = 0
