"""A tiny PET with random weights, in the folder of a trained model."""

import jax
import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.models.files import save_network, skeleton
from jaxpriors.models.pet import PETConfig
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.run.storage import write_json
from tests.helpers.jets import random_jets

CLASSES = 3
TINY = PETConfig(
    hidden_channels=8,
    num_heads=2,
    num_layers=1,
    num_local=1,
    neighbours=3,
    num_classes=CLASSES,
    num_class_layers=1,
    num_gen_layers=1,
    layer_scale=None,
)


def labelled_jets(number, seed):
    """Random jets of CLASSES classes, of one to eight constituents."""
    p4, _, lengths = random_jets(number, seed, mean_multiplicity=6).padded(8)
    return Events.from_padded(p4, lengths, label=np.arange(number) % CLASSES)


def write_generator(folder, config=TINY, heads=("cls", "gen"), name="network.safetensors", seed=0):
    """Write a network and its preprocessing; gives the folder."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)  # nothing to compile, unlike PET.init
    empty = skeleton(config, heads)
    network = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), empty)
    save_network(folder / name, network)
    preprocessing = Preprocessing(
        PointCloudConfig(), PointCloudConfig().learn(labelled_jets(100, 0))
    )
    write_json(folder / "model.json", preprocessing.to_json())
    return folder
