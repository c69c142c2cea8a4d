"""What every command does first: the folder of compiled programs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where compiled programs are kept: $JAXPRIORS_CACHE, else jaxpriors in the user's cache."""
    chosen = os.environ.get("JAXPRIORS_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxpriors"


def use_compilation_cache() -> None:
    """Keep compiled programs between runs; a second run of the same sizes starts at once."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
