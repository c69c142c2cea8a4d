"""Slow, explicit Lorentz transformations of four-vectors (E, px, py, pz), in float64."""

from itertools import combinations

import numpy as np

PARITY = np.diag([1.0, -1.0, -1.0, -1.0])
TIME_REVERSAL = np.diag([-1.0, 1.0, 1.0, 1.0])


def boost(axis: int, rapidity: float) -> np.ndarray:
    """The boost along x, y or z (axis 1, 2 or 3)."""
    matrix = np.eye(4)
    matrix[0, 0] = matrix[axis, axis] = np.cosh(rapidity)
    matrix[0, axis] = matrix[axis, 0] = np.sinh(rapidity)
    return matrix


def rotation(first: int, second: int, angle: float) -> np.ndarray:
    """The rotation in the plane of two of the axes 1, 2, 3."""
    matrix = np.eye(4)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def random_lorentz(seed: int, rapidity: float = 0.7, *, flips: bool = False) -> np.ndarray:
    """Rotations and boosts about every axis, multiplied; with flips also parity and time reversal.

    Without flips the matrix is of the connected (proper orthochronous) group.
    """
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    for axis in (1, 2, 3):
        matrix = boost(axis, rng.uniform(-rapidity, rapidity)) @ matrix
    for plane in combinations((1, 2, 3), 2):
        matrix = rotation(*plane, rng.uniform(-np.pi, np.pi)) @ matrix
    for reflection in (PARITY, TIME_REVERSAL):
        if flips and rng.random() < 0.5:
            matrix = reflection @ matrix
    return matrix


def transform(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Apply a transformation to vectors (..., 4), one after another."""
    flat = np.asarray(vectors, np.float64).reshape(-1, 4)
    return np.array([matrix @ vector for vector in flat]).reshape(np.shape(vectors))
