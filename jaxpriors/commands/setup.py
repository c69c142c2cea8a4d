"""What every command does first: the devices, and the folder of compiled programs."""

import contextlib
import os
from pathlib import Path

from jaxpriors.errors import InputError
from jaxpriors.processes import core_count
from jaxpriors.training.distributed import find_launch, some_of, start
from jaxpriors.training.watch import Watch


def cache_folder() -> Path:
    """Where compiled programs are kept: $JAXPRIORS_CACHE, else jaxpriors in the user's cache."""
    chosen = os.environ.get("JAXPRIORS_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxpriors"


def begin(alone: bool = False) -> Watch | None:
    """Join the other processes of a run, and use the devices that were asked for.

    Nothing happens for a process on its own, and without ``JAXPRIORS_DEVICES``; otherwise as
    `training.distributed.start`. Raises InputError where there are others and it must be ``alone``.
    """
    launch = find_launch(os.environ)
    if alone and launch is not None:
        raise InputError(
            f"processes: found {launch.processes}, expected one: this command does not share its "
            "work out (JAXPRIORS_PROCESSES=1 within srun or mpirun)"
        )
    if launch is None and "JAXPRIORS_DEVICES" not in os.environ:
        return None
    use_compilation_cache()
    return start(os.environ)


def use_all_cores() -> None:
    """Make a device of each core of a CPU (a power of two of them, 8 at most).

    Programs that work on their own rows side by side are faster than one that shares each of its
    operations out. Where something was computed already, or on other devices, it changes nothing.
    """
    import jax

    with contextlib.suppress(RuntimeError):  # the devices are in use
        jax.config.update("jax_num_cpu_devices", some_of(core_count()))


def device_memory() -> int | None:
    """Bytes that a program may use on each device, None where that is not known.

    On CPUs the memory that is available now (Linux), shared by the devices.
    """
    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 // jax.local_device_count()
    return None


def use_compilation_cache() -> None:
    """Keep compiled programs between runs; a second run of the same sizes starts at once."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
