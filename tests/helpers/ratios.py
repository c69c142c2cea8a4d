"""Tiny networks with random weights as fitted likelihood ratios: nothing is trained."""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from jaxpriors import Events, RatioClassifier, RatioModel
from jaxpriors.models.files import save_network, skeleton
from jaxpriors.models.pet import PETConfig
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.ratio.presets import preset
from jaxpriors.training.step import Precision
from tests.helpers.jets import random_jets

PET = PETConfig(
    hidden_channels=8,
    num_heads=2,
    num_layers=1,
    num_local=2,
    neighbours=4,
    num_class_layers=1,
    num_gen_layers=1,
    layer_scale=0.5,
)
NETWORKS = {
    "lgatr": dataclasses.replace(
        preset("lgatr", "small"), hidden_mv_channels=2, hidden_s_channels=8, num_heads=2
    ),
    "lgatr-slim": dataclasses.replace(
        preset("lgatr-slim", "small"), hidden_v_channels=4, hidden_s_channels=8, num_heads=2
    ),
    "pet": PET,
    "pet-finetuned": None,  # that of the pretrained weights
}


def jets_with_identities(number: int, seed: int) -> Events:
    """Jets of one to about twenty constituents, with all kinds of identities."""
    events = random_jets(number, seed, mean_multiplicity=6)
    kinds = np.array([211, -211, 22, 130, 11, -13, 2212, 0], np.int32)
    pid = np.random.default_rng(seed).choice(kinds, len(events.p4))
    return dataclasses.replace(events, pid=pid)


def random_ratio(model: str, folder: Path, precision: str = "float32", **changes) -> RatioModel:
    """A ratio of this model with random weights; ``changes`` are to its network's configuration.

    ``folder`` takes the weights that "pet-finetuned" starts from.
    """
    network, pretrained = NETWORKS[model], None
    if network is None:
        pretrained = folder / "pretrained.safetensors"
        save_network(pretrained, _random(skeleton(PET)))
    else:
        network = dataclasses.replace(network, **changes)
    config = RatioClassifier(model, network=network, pretrained=pretrained)
    if network is None:
        classifier, origin = config.initial(jax.random.key(0))
    else:  # nothing to compile, unlike init
        shapes = jax.eval_shape(lambda key: config.initial(key)[0], jax.random.key(0))
        classifier, origin = _random(shapes), None
    preprocessing = Preprocessing(
        config.inputs, config.inputs.learn(jets_with_identities(100, seed=1))
    )
    return RatioModel(preprocessing, (8, 16), Precision(precision), classifier, origin)


def _random(tree):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(0, 0.6, x.shape).astype(np.float32), tree)
