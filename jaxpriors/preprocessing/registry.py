"""The kinds of network inputs, by name, and the preprocessing of events into such inputs.

Each kind is a configuration: the columns that it reads (``columns``), its selection of events
(``select``), the standardisation that it learns from the training sample (``learn``) and the
function from a batch to inputs (``build``). A new kind is a new file and an entry here.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from jaxpriors.data.batching import Batch
from jaxpriors.errors import InputError
from jaxpriors.preprocessing.clouds import DijetCloudConfig, PointCloudConfig
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.preprocessing.standardisation import Standardisation
from jaxpriors.preprocessing.tokens import DijetConfig, InputConfig

InputsConfig = InputConfig | PointCloudConfig | ColumnsConfig | DijetConfig | DijetCloudConfig
KINDS: dict[str, type[InputsConfig]] = {
    config.KIND: config
    for config in (InputConfig, PointCloudConfig, ColumnsConfig, DijetConfig, DijetCloudConfig)
}

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
    def from_json(cls, data: dict[str, Any]) -> "Preprocessing[Any]":
        """Read what ``to_json`` gave; data without a kind are "tokens".

        Raises InputError for an unknown kind, KeyError, TypeError or ValueError for other data.
        """
        kind = data.get("kind", "tokens")
        if kind not in KINDS:
            raise InputError(f"kind: found {kind!r}, expected one of {sorted(KINDS)}")
        config: Any = KINDS[kind](**data["inputs"])
        return cls(config, Standardisation.from_json(data["standardisation"]))
