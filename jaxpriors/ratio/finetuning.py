"""Fine-tuning: a PET that starts from pretrained weights (arXiv:2404.16091, Section 4).

The network takes over everything that does not depend on the classes: the output layer is new
(unless the pretrained network has one output too), and the generation head is left out. Whatever
the mode of the pretraining, the network computes in mode "masked", so that a log-ratio does not
depend on padding, and drops no features.
"""

import dataclasses
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.models.files import (
    CLASSES,
    build,
    load_network,
    read_config,
    replace_classes,
    skeleton,
)
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.pet_dijet import PETTwoJetClassifier, PETTwoJetClassifierConfig
from jaxpriors.models.state_dicts import slots, state_from_network
from jaxpriors.physics.jet_features import FEATURES, JET_FEATURES
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.run.storage import read_json

IN_PACKAGE = "jaxpriors/models/pretrained/network.safetensors"
SHIPPED = Path(__file__).parents[2] / IN_PACKAGE
PUBLISHED = "PET_jetclass_8_local_layer_scale_token_baseline_all.weights.h5"
NO_WEIGHTS = (
    "pretrained: found none, expected for size paper OmniLearn's pretrained PET: give what "
    f"`jaxpriors port omnilearn` makes of {PUBLISHED}, in the folder checkpoints of "
    "github.com/ViniciusMikuni/OmniLearn (--pretrained)"
)
TOKEN = "cls.class_token"
MOST_NAMES = 8  # names in a line; where there are more, it counts them by part of the network


@dataclass(frozen=True)
class Pretrained:
    """Identify a file of pretrained weights by the digest of its content.

    The file in this package has the same name on all machines.
    """

    digest: str
    file: str = field(compare=False, repr=False)

    @property
    def path(self) -> Path:
        """Give the path of the file."""
        return SHIPPED if self.file == IN_PACKAGE else Path(self.file)


@dataclass(frozen=True)
class Origin:
    """Record the file of a network's initial weights, and the fate of its tensors.

    kept: number of tensors taken over; new: names of the tensors initialised at random; dropped:
    heads of the pretrained network that were left out.
    """

    file: str
    digest: str
    kept: int
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        dropped = f"; left out: {', '.join(self.dropped)}" if self.dropped else ""
        new = self.new or ("none",)
        if len(new) > MOST_NAMES:
            parts = Counter(name.split(".")[0] for name in new)
            new = tuple(f"{count} of {part}" for part, count in parts.items())
        return f"{self.kept} tensors of {self.file}; new: {', '.join(new)}{dropped}"


def find(source: str | Path | None) -> Pretrained:
    """Find the pretrained weights in a file or the folder of a run; None for the package's own.

    Raises InputError where there are none.
    """
    if source is None and not SHIPPED.is_file():
        raise InputError(
            f"{SHIPPED}: no such file, this package holds no pretrained PET; "
            "give one with --pretrained"
        )
    path = SHIPPED if source is None else Path(source)
    if path.is_dir():
        places = [path / "model" / "network.safetensors", path / "network.safetensors"]
        path = next((p for p in places if p.is_file()), places[0])
    if not path.is_file():
        raise InputError(f"pretrained weights: {path}: no such file, expected a ported PET")
    digest = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return Pretrained(digest, IN_PACKAGE if path == SHIPPED else str(path))


def network_config(pretrained: Pretrained) -> PETConfig:
    """Read the configuration of the network to fine-tune.

    Raises InputError where the file holds no PET, or a PET for other inputs than ours.
    """
    config = read_config(pretrained.path)
    if type(config) is not PETConfig:  # the configurations for two-jet events are subclasses
        raise InputError(
            f"pretrained weights: {pretrained.file}: found {type(config).__name__}, expected a PET"
        )
    found = config.num_features, config.num_jet_features
    if found != (len(FEATURES), len(JET_FEATURES)):
        raise InputError(
            f"pretrained weights: {pretrained.file}: found a PET of {found[0]} features and "
            f"{found[1]} of the jet, expected {len(FEATURES)} and {len(JET_FEATURES)}"
        )
    return dataclasses.replace(config, num_classes=1, mode="masked", feature_drop=0.0)


def inputs_config(pretrained: Pretrained) -> PointCloudConfig:
    """Read the inputs of the pretrained network from ``model.json`` beside it, if there is one."""
    file = pretrained.path.with_name("model.json")
    if not file.is_file():
        return PointCloudConfig()
    found = Preprocessing.from_json(read_json(file), str(file)).config
    if not isinstance(found, PointCloudConfig):
        raise InputError(f"{file}: found inputs of tokens, expected point clouds")
    return found


def start(
    pretrained: Pretrained, config: PETConfig, key: Array
) -> tuple[PET | PETTwoJetClassifier, Origin]:
    """Make the network to fine-tune, and record the fate of the pretrained tensors.

    config: of ``network_config``, or ``pet_dijet.dijet_config`` of it: body and head then take over
    the tensors of equal shape, and the layers for two jets start at random. Raises InputError where
    the file is damaged or its PET has no classification head.
    """
    if find(pretrained.path).digest != pretrained.digest:
        raise InputError(f"pretrained weights: {pretrained.path}: was changed since it was chosen")
    source = load_network(pretrained.path)
    if source.cls is None:
        raise InputError(
            f"pretrained weights: {pretrained.file}: found a PET without a head for "
            "classification (cls), expected one with it"
        )
    dropped = () if source.gen is None else ("gen",)
    if isinstance(config, PETTwoJetClassifierConfig):
        return _start_two_jets(source, pretrained, config, key, dropped)
    network, new = replace_classes(dataclasses.replace(source, gen=None), 1, key)
    state = state_from_network(network)
    if TOKEN in [slot.name for slot in slots(skeleton(config, ("cls",)))] and TOKEN not in state:
        state[TOKEN] = np.zeros(config.hidden_channels, np.float32)  # as in mode "omnilearn"
        new += (TOKEN,)
    origin = Origin(pretrained.file, pretrained.digest, len(state) - len(new), new, dropped)
    return build(config, state, prefix=""), origin


def _start_two_jets(
    source: PET,
    pretrained: Pretrained,
    config: PETTwoJetClassifierConfig,
    key: Array,
    dropped: tuple[str, ...],
) -> tuple[PETTwoJetClassifier, Origin]:
    """Make a classifier of two jets with the pretrained tensors that fit."""
    state = state_from_network(PETTwoJetClassifier.init(key, config))
    known = state_from_network(dataclasses.replace(source, gen=None))
    several = source.config.num_classes > 1
    kept = {
        name: known[name]
        for name, array in state.items()
        if name in known and known[name].shape == array.shape and not (several and name in CLASSES)
    }
    new = tuple(sorted(state.keys() - kept.keys()))
    origin = Origin(pretrained.file, pretrained.digest, len(kept), new, dropped)
    return build(config, state | kept, prefix=""), origin
