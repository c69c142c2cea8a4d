"""Event weights that a method found, as a file.

| dataset              | shape  | dtype   | meaning                                           |
|----------------------|--------|---------|---------------------------------------------------|
| `<model>/log_ratio`  | (n,)   | float64 | log p_data / p_simulation of each simulated event |
| `<model>/weight`     | (n,)   | float64 | the event's new weight; same sum as the old ones  |
| `<model>/log_ratios` | (k, n) | float64 | of each network, where `log_ratio` is their mean  |
| `part`               | (n,)   | bytes   | what the event was used for: train, validation, test |

The order is that of the simulation's file.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from jaxpriors.data.files import written_whole


def write_weights(
    path: Path,
    log_ratios: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    part: np.ndarray,
    ensembles: Mapping[str, np.ndarray],
) -> None:
    """Write the file, whole or not at all, in place of an earlier one.

    ensembles: `log_ratios` of the models that are one.
    """
    with written_whole(path, overwrite=True) as scratch, h5py.File(scratch, "w") as file:
        file.create_dataset("part", data=part)
        for model in weights:
            file.create_dataset(f"{model}/log_ratio", data=log_ratios[model])
            file.create_dataset(f"{model}/weight", data=weights[model])
        for model, log_ratios_of_each in ensembles.items():
            file.create_dataset(f"{model}/log_ratios", data=log_ratios_of_each)
