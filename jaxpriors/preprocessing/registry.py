"""The kinds of network inputs, by name, and the preprocessing of events into such inputs.

Each kind is a configuration: the columns that it reads (``columns``), its selection of events
(``select``), the standardisation that it learns from the training sample (``learn``) and the
function from a batch to inputs (``build``). A new kind is a new file and an entry here.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from jaxpriors.data.batching import Batch
from jaxpriors.data.dijets import JET_COLUMNS
from jaxpriors.errors import InputError
from jaxpriors.physics.jet_features import JET_FEATURES
from jaxpriors.preprocessing.clouds import DijetCloudConfig, PointCloudConfig
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.preprocessing.standardisation import Standardisation
from jaxpriors.preprocessing.tokens import DijetConfig, InputConfig
from jaxpriors.run.forms import checked, made

InputsConfig = InputConfig | PointCloudConfig | ColumnsConfig | DijetConfig | DijetCloudConfig
KINDS: dict[str, type[InputsConfig]] = {
    config.KIND: config
    for config in (InputConfig, PointCloudConfig, ColumnsConfig, DijetConfig, DijetCloudConfig)
}

BEFORE: dict[str, dict[str, Any]] = {
    PointCloudConfig.KIND: {"features": "full"},
    DijetConfig.KIND: {"jet_features": ["pt", "eta", "mass", "multiplicity"]},
}
"""Kind → what its inputs were in files of version 0.1.0, which do not say it."""

C = TypeVar("C", bound=InputsConfig)


@dataclass(frozen=True)
class Preprocessing(Generic[C]):
    """Turn events into the inputs of a network, by a configuration and a learnt standardisation.

    It is hashable, and a function: ``preprocessing(batch)`` gives the inputs and runs under jit. It
    is saved with the weights of the network.
    """

    config: C
    standardisation: Standardisation

    def __call__(self, batch: Batch) -> Any:
        """Make the inputs of a batch."""
        return self.config.build(batch, self.standardisation)

    def to_json(self) -> dict[str, Any]:
        """Give plain data: {"kind", "inputs", "standardisation"}."""
        return {
            "kind": self.config.KIND,
            "inputs": dataclasses.asdict(self.config),
            "standardisation": dataclasses.asdict(self.standardisation),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], place: str) -> "Preprocessing[Any]":
        """Read what ``to_json`` gave; data without a kind are "tokens".

        place: the file, for messages. Raises InputError for an unknown kind and other data.
        """
        kind = checked(data.get("kind", "tokens"), Literal[*KINDS], f"{place}: kind")
        inputs = data.get("inputs")
        if isinstance(inputs, dict):
            inputs = BEFORE.get(kind, {}) | inputs
        config: Any = made(KINDS[kind], inputs, f"{place}: inputs")
        at = f"{place}: standardisation"
        learnt = made(Standardisation, data.get("standardisation"), at, ("momentum_scale",))
        if len(learnt.mean) != (expected := _learnt(config)):
            raise InputError(
                f"{place}: standardisation: found {len(learnt.mean)} numbers, expected {expected}, "
                "one for each input"
            )
        return cls(config, learnt)


def _learnt(config: InputsConfig) -> int:
    """Count the inputs that a standardisation is learnt of."""
    if isinstance(config, ColumnsConfig):
        return len(config.columns)
    if isinstance(config, PointCloudConfig):
        return len(JET_FEATURES)
    if isinstance(config, DijetCloudConfig):
        return len(JET_COLUMNS) + 1
    return len(config.learnt)
