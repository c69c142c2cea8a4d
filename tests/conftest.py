"""Two virtual devices for all tests, so that batches are always spread over a mesh."""

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture(scope="module")
def compiled_quickly():
    """Programs are compiled with few optimisations: sooner where each runs only a few times.

    Not in tests/porting, where recorded outputs are reproduced by programs compiled as users do.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
