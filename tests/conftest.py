"""Two virtual devices for all tests, so that batches are always spread over a mesh."""

import jax

jax.config.update("jax_num_cpu_devices", 2)
