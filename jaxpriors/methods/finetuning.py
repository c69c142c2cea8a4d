"""Fine-tuning: a PET that starts from pretrained weights (arXiv:2404.16091, Section 4).

Everything is taken over but what depends on the classes: the output layer is new (unless the
weights are of one output as well), and the head for generation is left out. Whatever the weights
were trained in, the network computes in mode "masked", so that a log-ratio does not depend on
padding, and drops no features.
"""

import dataclasses
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.features import FEATURES, JET_FEATURES, PointCloudConfig
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.pet_twojet import PETTwoJetClassifier, PETTwoJetClassifierConfig
from jaxpriors.porting.networks import build, load_network, read_config, template
from jaxpriors.porting.omnilearn import CLASSES, replace_classes
from jaxpriors.porting.trees import slots, state_from_network
from jaxpriors.preprocessing import preprocessing_from_json
from jaxpriors.training.runs import read_json

IN_PACKAGE = "jaxpriors/models/pretrained/network.safetensors"
SHIPPED = Path(__file__).parents[2] / IN_PACKAGE
TOKEN = "cls.class_token"
MOST_NAMES = 8  # that a line is to show; of more, their number in each part of the network


@dataclass(frozen=True)
class Pretrained:
    """A file of pretrained weights; digest of its content, by which two of them are the same.

    The package's own file has a name that is the same on all machines.
    """

    digest: str
    file: str = field(compare=False, repr=False)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return SHIPPED if self.file == IN_PACKAGE else Path(self.file)


@dataclass(frozen=True)
class Origin:
    """Where a network's first weights came from: the file, and what became of its tensors.

    kept: number of tensors taken over; new: names of those that start afresh; dropped: heads of
    the pretrained network that were left out.
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

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Origin":
        """The inverse of ``dataclasses.asdict``, after a detour through JSON."""
        return cls(**{**data, "new": tuple(data["new"]), "dropped": tuple(data["dropped"])})


def find(source: str | Path | None) -> Pretrained:
    """The pretrained weights in a file or in the folder of a run; None are the package's own.

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
    """The configuration of the network to fine-tune.

    Raises InputError where the file holds no PET, or one for other inputs than ours.
    """
    config = read_config(pretrained.path)
    if type(config) is not PETConfig:  # those of two-jet events are subclasses
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
    """How the pretrained network's inputs were made: as ``model.json`` beside it says, if any."""
    described = pretrained.path.with_name("model.json")
    if not described.is_file():
        return PointCloudConfig()
    content = read_json(described)
    try:
        found = preprocessing_from_json(content).config
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{described}: found {error!r}, expected that of a PET") from None
    if not isinstance(found, PointCloudConfig):
        raise InputError(f"{described}: found inputs of tokens, expected point clouds")
    return found


def start(
    pretrained: Pretrained, config: PETConfig, key: Array
) -> tuple[PET | PETTwoJetClassifier, Origin]:
    """The network to fine-tune, with what became of the pretrained tensors.

    config: that of ``network_config``, or ``pet_twojet.two_jets`` of it: body and head are then
    taken over but for the tensors of another shape, and what is about two jets starts afresh.
    Raises InputError where the file is damaged or its PET has no head for classification.
    """
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
    if TOKEN in [slot.name for slot in slots(template(config, ("cls",)))] and TOKEN not in state:
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
    """A classifier of two jets with what fits of a pretrained PET."""
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
