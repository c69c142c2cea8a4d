#!/usr/bin/env bash
# jax 0.10.2, numpy 2.4.6, on CPU: the persistent compilation cache finds none of its programs once
# its folder has another name.
#
# Seen: a second process with the same `jax_compilation_cache_dir` reads all its programs. After the
# folder is renamed, and the option with it, a process misses all of them and writes each anew
# beside the old. The path is part of the keys through `jax_persistent_cache_enable_xla_caches`: its
# default gives XLA a folder inside it for the autotuning on GPUs, on CPUs as well. With "none" all
# programs are read after the renaming, too.
#
# Exits with 0 while that is so, with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat > run.py <<'PYTHON'
"""Prints how many programs were read, how many were not found, and how many the folder then has."""
import os
import sys
from collections import Counter

import jax
import jax.numpy as jnp

jax.config.update("jax_compilation_cache_dir", os.path.abspath(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
if sys.argv[2] != "default":
    jax.config.update("jax_persistent_cache_enable_xla_caches", sys.argv[2])
events = Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name.split("/")[-1]]))
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3))).block_until_ready()
stored = sum(name.endswith("-cache") for name in os.listdir(sys.argv[1]))
print(f"read {events['cache_hits']}, missed {events['cache_misses']}, stored {stored}")
PYTHON
for caches in default none; do
    first=$(JAX_PLATFORMS=cpu venv/bin/python run.py "$caches-a" "$caches")
    again=$(JAX_PLATFORMS=cpu venv/bin/python run.py "$caches-a" "$caches")
    mv "$caches-a" "$caches-b"
    renamed=$(JAX_PLATFORMS=cpu venv/bin/python run.py "$caches-b" "$caches")
    echo "$caches: first: $first; again: $again; renamed: $renamed"
    n=${first##* }
    [ "$n" -gt 0 ] && [ "$first" = "read 0, missed $n, stored $n" ] || exit 1
    [ "$again" = "read $n, missed 0, stored $n" ] || exit 1
    expected="read 0, missed $n, stored $((2 * n))"
    if [ "$caches" = none ]; then expected=$again; fi
    [ "$renamed" = "$expected" ] || exit 1
done
echo "as described"
