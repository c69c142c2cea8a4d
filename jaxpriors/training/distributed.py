"""How the processes of one run find each other: SLURM, MPI's launchers, or a named coordinator.

| variable                | option          |                                                   |
|-------------------------|-----------------|---------------------------------------------------|
| `JAXPRIORS_COORDINATOR` | `--coordinator` | HOST:PORT, on the machine of process 0            |
| `JAXPRIORS_PROCESSES`   | `--processes`   | how many there are; 1 for one on its own          |
| `JAXPRIORS_PROCESS`     | `--process`     | which this is, from 0                             |
| `JAXPRIORS_DEVICES`     | `--devices`     | devices of each process: a number, or all         |

SLURM's `srun` tells all of that, Open MPI's `mpirun` and MPICH's `mpiexec` all but the coordinator,
which several machines need.
"""

import logging
import os
import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxpriors import processes
from jaxpriors.errors import InputError
from jaxpriors.training.watch import Watch

OPTIONS = ("coordinator", "processes", "process", "devices")
FIRST_PORT, PORTS = 61440, 4096  # from which a coordinator's is taken
HEARTBEAT, SHUTDOWN = 60, 60  # seconds until JAX itself gives a process up
GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Launch:
    """Which of several processes this is, of how many, and where process 0 listens.

    local, on_host: which of the processes of its machine, and how many there are.
    """

    coordinator: str
    processes: int
    process: int
    local: int = 0
    on_host: int = 1


def find_launch(environment: Mapping[str, str]) -> Launch | None:
    """What the variables of the environment tell; None for a process on its own.

    Raises InputError where they do not tell enough, or nonsense.
    """
    coordinator = environment.get("JAXPRIORS_COORDINATOR")
    number, total = (_whole(environment, f"JAXPRIORS_{n}") for n in ("PROCESS", "PROCESSES"))
    if total == 1:
        return None
    if total is not None or number is not None:
        if total is None or number is None or coordinator is None:
            given = {n: environment.get(f"JAXPRIORS_{n.upper()}") for n in OPTIONS[:3]}
            raise InputError(f"found {given}, expected coordinator, processes and process")
        found = Launch(coordinator, total, number)
        if _host(coordinator) in ("localhost", "127.0.0.1", "[::1]"):
            found = Launch(coordinator, total, number, number, total)
    else:
        launched = _mpirun(environment)
        if "MPI_LOCALRANKID" in environment:  # mpiexec may have started its own by srun
            launched = launched or _mpiexec(environment)
        launched = launched or _srun(environment) or _mpiexec(environment)
        if launched is None and coordinator is not None:
            raise InputError(
                f"coordinator: found {coordinator}, expected processes and process as well, or a "
                "start by srun, mpirun or mpiexec"
            )
        if launched is None:
            return None
        found = Launch(coordinator or launched[0], *launched[1:])
    if not found.coordinator:
        raise InputError(
            f"coordinator: found none for {found.processes} processes on several machines; "
            "expected --coordinator HOST:PORT with the machine of process 0"
        )
    if not re.fullmatch(r".+:\d+", found.coordinator):
        raise InputError(f"coordinator: found {found.coordinator!r}, expected HOST:PORT")
    if not 0 <= found.process < found.processes:
        raise InputError(
            f"process: found {found.process} of {found.processes}, expected 0 … "
            f"{found.processes - 1}"
        )
    return found


def _srun(environment: Mapping[str, str]) -> tuple[str, int, int, int, int] | None:
    """SLURM's: of a step's tasks; the script of a batch is none."""
    total = _whole(environment, "SLURM_STEP_NUM_TASKS")
    if total is None or total == 1 or "SLURM_STEP_NODELIST" not in environment:
        return None
    numbers = [_whole(environment, f"SLURM_{n}") for n in ("PROCID", "LOCALID", "NODEID")]
    process, local, node = (n or 0 for n in numbers)
    job, number = (_whole(environment, f"SLURM_{n}") or 0 for n in ("JOB_ID", "STEP_ID"))
    port = FIRST_PORT + (7 * job + number) % PORTS
    first = re.sub(r"^([^,\[]*)(?:\[(\d+)[^\]]*\])?.*", r"\1\2", environment["SLURM_STEP_NODELIST"])
    on_hosts = [
        int(count)
        for count, times in re.findall(
            r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")
        )
        for _ in range(int(times or 1))
    ]
    on_host = on_hosts[node] if node < len(on_hosts) else 1
    return f"{first}:{port}", total, process, local, on_host


def _mpirun(environment: Mapping[str, str]) -> tuple[str, int, int, int, int] | None:
    """Open MPI's."""
    return _mpi(environment, "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK",
                "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE")  # fmt: skip


def _mpiexec(environment: Mapping[str, str]) -> tuple[str, int, int, int, int] | None:
    """MPICH's and those made of it."""
    return _mpi(environment, "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")


def _mpi(environment: Mapping[str, str], *names: str) -> tuple[str, int, int, int, int] | None:
    total, process, local, on_host = (_whole(environment, name) for name in names)
    if total is None or total == 1:
        return None
    coordinator = ""
    if on_host == total:
        run = environment.get("PMIX_NAMESPACE") or str(os.getppid())  # the same of all of them
        coordinator = f"127.0.0.1:{FIRST_PORT + zlib.crc32(run.encode()) % PORTS}"
    return coordinator, total, process or 0, local or 0, on_host or 1


def _whole(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name)
    if text is not None and not text.isdecimal():
        raise InputError(f"{name}: found {text!r}, expected a number")
    return None if text is None else int(text)


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def devices_wanted(environment: Mapping[str, str]) -> int | None:
    """How many devices each process is to have; None for all."""
    if environment.get("JAXPRIORS_DEVICES", "all") == "all":
        return None
    number = _whole(environment, "JAXPRIORS_DEVICES")
    if not number:
        raise InputError(f"devices: found {number}, expected at least 1, or all")
    return number


def start(environment: Mapping[str, str] = os.environ) -> Watch | None:
    """Begin as the environment tells; gives the watch over a run of several processes.

    Before anything is computed. Raises InputError where a process has not the devices that were
    asked for, or other numbers of them than the others. Where those are not there within five
    minutes, JAX aborts this one.
    """
    import jax

    launch, wanted = find_launch(environment), devices_wanted(environment)
    gpus = own_gpus(environment, launch, len(list(GPUS.glob("*"))))
    if gpus is not None or wanted is not None:
        chosen = (gpus or [str(i) for i in range(wanted or 0)])[:wanted]
        for kind in ("cuda", "rocm"):
            jax.config.update(f"jax_{kind}_visible_devices", ",".join(chosen))
    share = max((os.cpu_count() or 1) // (launch.on_host if launch else 1), 1)
    cores = min(processes.core_count(), share)  # a launcher may have shared them out
    if "JAXPRIORS_DEVICES" not in environment:
        cores = some_of(cores)
    jax.config.update("jax_num_cpu_devices", wanted or cores)
    if launch is not None:
        logging.getLogger("jax._src.distributed").setLevel(logging.ERROR)  # of proxies
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            launch.coordinator,
            launch.processes,
            launch.process,
            cluster_detection_method="deactivate",
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=SHUTDOWN,
        )
    counts = processes.gather(len(jax.local_devices()))
    if {*counts} != {wanted or counts[0]}:
        raise InputError(
            f"devices: found {', '.join(map(str, counts))} of kind {jax.default_backend()} in the "
            f"processes, expected {wanted or 'as many'} in each (--devices)"
        )
    if launch is None:
        return None
    if launch.process > 0:
        sys.stdout = open(os.devnull, "w")  # the first one speaks for all  # noqa: SIM115
    return Watch(_host(launch.coordinator))


def some_of(cores: int) -> int:
    """So many of the cores are devices if nothing else is asked for: a power of two, 8 at most."""
    return min(8, 1 << (cores.bit_length() - 1))


def own_gpus(
    environment: Mapping[str, str], launch: Launch | None, present: int
) -> list[str] | None:
    """The GPUs of a process that shares the visible ones with others; None for all of them.

    present: GPUs of the machine. Where SLURM gave each process its own, it sees no others.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    shown = visible.split(",") if visible is not None else [str(i) for i in range(present)]
    if launch is None or launch.on_host == 1 or len(shown) < launch.on_host:
        return None
    bound = environment.get("SLURM_GPU_BIND", "")
    if "SLURM_GPUS_PER_TASK" in environment or "per_task" in bound or "single" in bound:
        task = _srun(environment)  # not that of a job whose mpirun started this
        if task is not None and task[1:3] == (launch.processes, launch.process):
            return None
    each = len(shown) // launch.on_host
    first = launch.local * each
    return [str(i) for i in range(first, first + each)]
