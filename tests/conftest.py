"""How programs are compiled in tests: for two virtual devices, and soon rather than fast.

Most programs run a few times only. Compiled with few optimisations they are the same mathematics,
ready five times sooner. ``optimised`` is for the few tests that run one for long; those of the
console command compile as its users do.
"""

import os
import subprocess
import sys

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_default_matmul_precision", "highest")  # as trainings do; of GPUs alone

if "XLA_FLAGS" not in os.environ:  # workers have those of the process that started them
    flags = {"XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false"}
    probe = [sys.executable, "-c", "import jax; jax.devices()"]  # fails where XLA has no such flag
    known = subprocess.run(probe, env=os.environ | flags, capture_output=True, check=False)
    os.environ |= flags if known.returncode == 0 else {"XLA_FLAGS": ""}


@pytest.fixture(scope="module")
def optimised():
    """Programs of this module are optimised."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
