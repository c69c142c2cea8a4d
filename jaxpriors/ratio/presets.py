"""The models that learn a likelihood ratio: network, size, training and inputs of each name.

Size "paper" is that of the study of unfolding in arXiv:2603.08802, for PET that of OmniLearn
(`ratio.settings`). MultiFold's MLP (arXiv:1911.09107) has one size. Size "small" trains in minutes
on two cores. The input and output channels follow from the inputs.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.models.lgatr import LGATrConfig
from jaxpriors.models.lgatr_slim import LGATrSlimConfig
from jaxpriors.models.mlp import MLPConfig
from jaxpriors.models.pet import PETConfig
from jaxpriors.models.pet_dijet import dijet_config
from jaxpriors.preprocessing.clouds import DijetCloudConfig, PointCloudConfig
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.preprocessing.registry import InputsConfig
from jaxpriors.preprocessing.tokens import DijetConfig, InputConfig
from jaxpriors.ratio.names import FINE_TUNED
from jaxpriors.ratio.networks import NetworkConfig
from jaxpriors.ratio.settings import network, published, training
from jaxpriors.training.loop import TrainingConfig
from jaxpriors.training.optimizers import OptimizerConfig


@dataclass(frozen=True)
class Model:
    """Define a named model; mappings go by size.

    network: makes the configuration. training: of a new network; later: constant learning rate and
    largest number of epochs of a network that trains further. inputs: makes the default inputs;
    dijet_inputs: their type for events of two jets, None where there is none; of_dijets: gives the
    network for these. pretrained: whether the model starts from pretrained weights, which determine
    its network: it has none of its own.
    """

    network: Mapping[str, Callable[[], NetworkConfig]]
    training: Mapping[str, TrainingConfig]
    later: Mapping[str, tuple[float, int]]
    inputs: Callable[[], InputsConfig]
    dijet_inputs: type[DijetConfig] | type[DijetCloudConfig] | None = None
    of_dijets: Callable[[Any], NetworkConfig] = lambda network: network
    pretrained: bool = False


_LGATR = partial(
    LGATrConfig,
    in_mv_channels=1,
    out_mv_channels=1,
    in_s_channels=1,
    out_s_channels=None,
    attn_ratio=2,
    mlp_ratio=2,
)
_SLIM = partial(
    LGATrSlimConfig, in_v_channels=1, out_v_channels=1, in_s_channels=1, out_s_channels=1
)
_SMALL = OptimizerConfig("adamw", 3e-3, 0.01, warmup=0.05, clip=1.0)
_LATER = (published("omnifold", "pet")["later_rate"], 20)
_MLP = training("omnifold", "mlp")
MODELS: dict[str, Model] = {
    "lgatr": Model(
        network={
            "small": partial(
                _LGATR, hidden_mv_channels=4, hidden_s_channels=16, num_blocks=2, num_heads=4
            ),
            "paper": partial(network, "omnifold", "lgatr-1M"),
        },
        training={
            "small": TrainingConfig(_SMALL, batch_size=256, epochs=5, buckets=2),
            "paper": training("omnifold", "lgatr-1M"),
        },
        later={"small": (5e-4, 2), "paper": _LATER},
        inputs=InputConfig,
        dijet_inputs=DijetConfig,
    ),
    "lgatr-slim": Model(
        network={
            "small": partial(
                _SLIM, hidden_v_channels=8, hidden_s_channels=24, num_blocks=3, num_heads=4
            ),
            "paper": partial(network, "omnifold", "lgatr-slim"),
        },
        training={
            "small": TrainingConfig(_SMALL, batch_size=256, epochs=6, buckets=2),
            "paper": training("omnifold", "lgatr-slim"),
        },
        later={"small": (5e-4, 2), "paper": _LATER},
        inputs=InputConfig,
        dijet_inputs=DijetConfig,
    ),
    "pet": Model(
        network={
            "small": partial(
                PETConfig,
                hidden_channels=48,
                num_layers=3,
                neighbours=5,
                layer_scale=0.1,
                feature_drop=0.0,
            ),
            "paper": partial(network, "omnifold", "pet"),
        },
        training={
            "small": TrainingConfig(_SMALL, batch_size=256, epochs=6, buckets=2),
            "paper": training("omnifold", "pet"),
        },
        later={"small": (5e-4, 2), "paper": _LATER},
        inputs=PointCloudConfig,
        dijet_inputs=DijetCloudConfig,
        of_dijets=dijet_config,
    ),
    FINE_TUNED: Model(
        network={},
        training={
            "small": TrainingConfig(
                dataclasses.replace(_SMALL, learning_rate=1e-3, warmup=0.1),
                batch_size=256,
                epochs=3,
                buckets=2,
            ),
            "paper": training("omnifold", FINE_TUNED),
        },
        later={"small": (2e-4, 2), "paper": _LATER},
        inputs=PointCloudConfig,
        dijet_inputs=DijetCloudConfig,
        of_dijets=dijet_config,
        pretrained=True,
    ),
    "mlp": Model(
        network={"small": MLPConfig, "paper": MLPConfig},
        training={"small": _MLP, "paper": _MLP},
        later={"small": (3e-4, 7), "paper": (3e-4, 10)},
        inputs=partial(ColumnsConfig, tuple(OBSERVABLES)),
    ),
}


def find_model(name: str) -> Model:
    """Find a model by name; raise InputError for an unknown one."""
    if name not in MODELS:
        raise InputError(f"model: found {name!r}, expected one of {sorted(MODELS)}")
    return MODELS[name]


def preset(name: str, size: str) -> NetworkConfig:
    """Configure the network of a model and size; raise InputError for unknown ones."""
    sizes = find_model(name).network
    if size not in sizes:
        raise InputError(f"size: found {size!r}, expected one of {sorted(sizes)}")
    return sizes[size]()
