"""In which precision networks multiply matrices, forward and backward."""

import re

import jax
import pytest

from jaxpriors.data.batching import spread
from jaxpriors.methods.ratio import member_logits
from jaxpriors.training.precision import Precision
from tests.helpers.ratios import jets_with_identities, random_ratio

CASES = [("float32", "HIGHEST"), ("tensorfloat32", "HIGH"), ("bfloat16", "DEFAULT")]


@pytest.mark.parametrize(("compute", "expected"), CASES)
@pytest.mark.parametrize("model", ["lgatr", "lgatr-slim", "pet"])
def test_products_are_as_exact_as_the_training_says(model, compute, expected, tmp_path):
    """Whatever JAX is set to: GPUs would round float32 to 10 bits by default."""
    ratio = random_ratio(model, tmp_path)
    batch = spread(jets_with_identities(4, 0), 16)

    def loss(classifier):
        one = member_logits(classifier, batch, None, ratio.preprocessing, Precision(compute))
        return (one**2).sum()

    with jax.default_matmul_precision("bfloat16"):
        text = jax.jit(jax.grad(loss)).lower(ratio.classifier).as_text()
    found = re.findall(r"stablehlo\.dot_general.*?precision = \[(\w+), (\w+)\]", text)
    assert len(found) == text.count("stablehlo.dot_general")
    names = {name for pair in found for name in pair}
    assert expected in names
    assert names <= {expected, "HIGHEST"}  # some are exact whatever is asked for
