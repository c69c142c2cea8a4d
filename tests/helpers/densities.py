"""Two densities on [0, 1] whose ratio is known: 2x and the uniform one."""

import numpy as np

EDGES = np.linspace(0.0, 1.0, 11)


def rising(rng: np.random.Generator, number: int) -> np.ndarray:
    """Values in [0, 1] with density 2x."""
    return np.sqrt(rng.random(number))


def to_rising(values: np.ndarray) -> np.ndarray:
    """The likelihood ratio of density 2x to the uniform one."""
    return 2 * values
