"""A slow Clifford algebra Cl(1,3): multivectors are dicts from words of basis vectors to numbers.

It shares no code with the package: products are sorted by exchanging neighbours, one at a time.
"""

from itertools import combinations

import numpy as np

SQUARES = {0: 1.0, 1: -1.0, 2: -1.0, 3: -1.0}
WORDS = [word for grade in range(5) for word in combinations(range(4), grade)]


def sort_word(word):
    """(ordered word without repetitions, number) that a product of basis vectors equals."""
    word, number = list(word), 1.0
    changed = True
    while changed:
        changed = False
        for i in range(len(word) - 1):
            if word[i] > word[i + 1]:
                word[i], word[i + 1] = word[i + 1], word[i]
                number, changed = -number, True
            elif word[i] == word[i + 1]:
                number *= SQUARES[word[i]]
                del word[i : i + 2]
                changed = True
                break
    return tuple(word), number


def multiply(x, y):
    """The product of two multivectors {word: number}."""
    out = {}
    for a, p in x.items():
        for b, q in y.items():
            word, number = sort_word(a + b)
            out[word] = out.get(word, 0.0) + number * p * q
    return out


def to_dict(x):
    """16 coefficients as a dict, without zeros."""
    return {word: float(value) for word, value in zip(WORDS, x, strict=True) if value}


def to_array(x):
    """A dict as 16 coefficients."""
    return np.array([x.get(word, 0.0) for word in WORDS])


def product(x, y):
    """The product of two arrays of 16 coefficients."""
    return to_array(multiply(to_dict(x), to_dict(y)))


def outermorphism(matrix):
    """(16, 16): a Lorentz transformation (4, 4) of vectors, carried to all multivectors.

    The image of a blade is the product of the images of its vectors, which stay orthogonal.
    """
    images = [{(nu,): matrix[nu, mu] for nu in range(4)} for mu in range(4)]
    columns = []
    for word in WORDS:
        image = {(): 1.0}
        for mu in word:
            image = multiply(image, images[mu])
        columns.append(to_array(image))
    return np.array(columns).T


def transform(matrix, multivectors):
    """Apply a Lorentz transformation (4, 4) to multivectors (..., 16)."""
    return np.asarray(multivectors, np.float64) @ outermorphism(matrix).T
