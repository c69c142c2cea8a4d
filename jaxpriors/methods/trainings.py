"""How each model is trained for a likelihood ratio, anew and from a network that has learnt one.

Size "paper": arXiv:2603.08802, Appendix B, and for PET the training of OmniLearn's unfolding
(arXiv:2404.16091). Size "small" is for minutes on two cores.
"""

import dataclasses

from jaxpriors.training.loop import TrainingConfig
from jaxpriors.training.optimizers import OptimizerConfig

FINE_TUNED = "pet-finetuned"

_SMALL = OptimizerConfig("adamw", 3e-3, 0.01, warmup=0.05, clip=1.0)
_PET = OptimizerConfig(
    "lion", 3e-5, 0.1, warmup=0.15, final_rate=0.01, betas=(0.95, 0.99), decay_all=True
)
_MLP = TrainingConfig(
    OptimizerConfig("adamw", 1e-3, 0.0, warmup=0.05),
    batch_size=1024,
    epochs=30,
    patience=5,
    micro_batch=1024,
    buckets=1,
)
# model, size
TRAINING: dict[str, dict[str, TrainingConfig]] = {
    "lgatr": {
        "small": TrainingConfig(_SMALL, batch_size=256, epochs=5, buckets=2),
        "paper": TrainingConfig(OptimizerConfig("lion", 3e-5, 0.1), batch_size=512, epochs=20),
    },
    "lgatr-slim": {
        "small": TrainingConfig(_SMALL, batch_size=256, epochs=6, buckets=2),
        "paper": TrainingConfig(OptimizerConfig("lion", 2e-5, 0.1), batch_size=1024, epochs=20),
    },
    "pet": {
        "small": TrainingConfig(_SMALL, batch_size=256, epochs=6, buckets=2),
        "paper": TrainingConfig(_PET, batch_size=512, epochs=20, patience=3),
    },
    FINE_TUNED: {
        "small": TrainingConfig(
            dataclasses.replace(_SMALL, learning_rate=1e-3, warmup=0.1),
            batch_size=256,
            epochs=3,
            buckets=2,
        ),
        "paper": TrainingConfig(
            dataclasses.replace(_PET, body_factor=5.0), batch_size=512, epochs=20, patience=3
        ),
    },
    "mlp": {size: _MLP for size in ("small", "paper")},
}
# model, size → learning rate (constant) and epochs at most of a network that goes on
LATER: dict[str, dict[str, tuple[float, int]]] = {
    "lgatr": {"small": (5e-4, 2), "paper": (1e-5, 20)},
    "lgatr-slim": {"small": (5e-4, 2), "paper": (1e-5, 20)},
    "pet": {"small": (5e-4, 2), "paper": (1e-6, 20)},
    FINE_TUNED: {"small": (2e-4, 2), "paper": (1e-6, 20)},
    "mlp": {"small": (3e-4, 10), "paper": (3e-4, 10)},
}
