"""Compiled programs are found again where the cache folder has another name.

jax 0.10.2 by itself compiles anew: with `jax_persistent_cache_enable_xla_caches` at its default,
the folder's path is part of the compiler's options (`xla_gpu_per_fusion_autotune_cache_dir`), on
CPUs as well, and these are part of a program's key.
"""

import json
import os
import subprocess
import sys

PROGRAM = """
import json
import jax
import jax.numpy as jnp
from jaxpriors.run.launch import set_up

counts = {"hits": 0, "misses": 0}

def count(event, **_):
    name = event.removeprefix("/jax/compilation_cache/cache_")
    if name in counts:
        counts[name] += 1

jax.monitoring.register_event_listener(count)
set_up()
rows = jnp.arange(48.0).reshape(16, 3)
print(json.dumps(counts | {"value": float(jax.jit(lambda x: jnp.sin(x @ x.T).sum())(rows))}))
print(json.dumps(counts | {"version": jax.__version__}))
"""


def _counts(cache):
    environment = {**os.environ, "JAXPRIORS_CACHE": str(cache), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", None)
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_programs_survive_a_renamed_cache_folder(tmp_path):
    first = _counts(tmp_path / "before")
    assert first["misses"] > 0 and first["hits"] == 0
    (tmp_path / "before").rename(tmp_path / "after")
    again = _counts(tmp_path / "after")
    assert (again["misses"], again["hits"]) == (0, first["misses"]), again["version"]
    assert not (tmp_path / "before").exists()
