"""A function as a program: the processes that it shares a run with, its errors as exit codes.

The processes find each other by SLURM, by MPI's launchers, or by a named coordinator:

| variable                | option          |                                                   |
|-------------------------|-----------------|---------------------------------------------------|
| `JAXPRIORS_COORDINATOR` | `--coordinator` | HOST:PORT, on the machine of process 0            |
| `JAXPRIORS_PROCESSES`   | `--processes`   | how many there are; 1 for one on its own          |
| `JAXPRIORS_PROCESS`     | `--process`     | which this is, from 0                             |
| `JAXPRIORS_DEVICES`     | `--devices`     | devices of each process: a number, or all         |

SLURM's `srun` tells all of that, Open MPI's `mpirun` and MPICH's `mpiexec` all but the coordinator,
which several machines need.
"""

import contextlib
import logging
import os
import re
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxpriors.errors import InputError
from jaxpriors.run import preemption, processes
from jaxpriors.run.storage import cache_folder
from jaxpriors.run.watch import FailureDetector

OPTIONS = ("coordinator", "processes", "process", "devices")
FIRST_PORT, PORTS = 61440, 4096  # from which a coordinator's is taken
CLOSED_PIPE = 141  # the exit code of other programs in a shell then: 128 + SIGPIPE
HEARTBEAT, SHUTDOWN = 60, 60  # seconds until JAX itself gives a process up
MOST = 8  # cores that are devices if nothing else is asked for
GPUS = Path("/proc/driver/nvidia/gpus")
SLURM_STEP = "SLURM_STEP_NODELIST"
_MPICH = ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
# Open MPI, MPICH (and those made of it) that started its own, SLURM, MPICH otherwise: the variable
# that shows it; those of the number of processes, of this one, and of both on its machine
LAUNCHERS = (
    ("OMPI_COMM_WORLD_SIZE", *(f"OMPI_COMM_WORLD_{n}" for n in (
        "SIZE", "RANK", "LOCAL_RANK", "LOCAL_SIZE"))),
    ("MPI_LOCALRANKID", *_MPICH),
    (SLURM_STEP, "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", ""),
    ("PMI_SIZE", *_MPICH),
)  # fmt: skip


def guarded(command: Callable[[], int | None], alone: bool = False, again: str = "--resume") -> int:
    """Run a command; errors that are the input's become one line, others keep their traceback.

    In a run of several processes, what ends one of them ends all. alone: refuse such a run. again:
    what to give to go on with a run that was ended.
    """
    watch, failed = None, False
    try:
        with preemption.handle_sigterm():
            watch = start(alone=alone)
            code, message = command() or 0, ""
            sys.stdout.flush()
    except BrokenPipeError:  # of `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code, message, failed = CLOSED_PIPE, "", True
    except (InputError, OSError) as error:
        code, message, failed = 2, str(error), True
    except preemption.Preempted as notice:
        code, message = preemption.EXIT_CODE, f"ended by SIGTERM: {notice}; go on with {again}"
    except KeyboardInterrupt:
        code, failed = 130, True
        message = f"ended by Ctrl-C; go on with {again}"
    except SystemExit as error:  # of what cannot be parsed, by all processes alike
        if watch is None:
            raise
        code, message = int(error.code or 0), ""
    except BaseException as error:
        expected = isinstance(error, (FloatingPointError, RuntimeError))
        if watch is None and not expected:
            raise
        if watch is not None:
            time.sleep(3)  # what another one's end did to this one is told by the watch
        traceback.print_exc()
        code, message, failed = 1, str(error) if expected else repr(error), True
    if watch is not None and failed:
        watch.end(code, message)
    if message and (watch is None or processes.index() == 0):
        print(f"error: {message}" if code in (1, 2) else message, file=sys.stderr)
    if watch is not None:
        watch.leave()
    return code


def set_up() -> None:
    """Make a device of each core of a CPU, and keep compiled programs between runs.

    Of a power of two of the cores, at most MOST. Programs that work on their own rows side by side
    are faster than one that shares each of its operations out. Where something was computed
    already, the devices stay as they are. A second run of the same sizes starts at once.
    """
    import jax

    cores = min(processes.core_count(), MOST)
    with contextlib.suppress(RuntimeError):  # the devices are in use
        jax.config.update("jax_num_cpu_devices", 1 << (cores.bit_length() - 1))
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    # JAX 0.10 would put the path of its cache of GPUs' tuning into the key of every program, which
    # were lost when the folder is moved
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


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
    """Read the launch from the environment's variables; None for a process on its own.

    Raises InputError where they do not tell enough, or nonsense.
    """
    coordinator = environment.get("JAXPRIORS_COORDINATOR")
    total, process = (_number(environment, f"JAXPRIORS_{n}") for n in ("PROCESSES", "PROCESS"))
    local, on_host = 0, 1
    if total == 1:
        return None
    if total is not None or process is not None:
        if total is None or process is None or coordinator is None:
            given = {n: environment.get(f"JAXPRIORS_{n.upper()}") for n in OPTIONS[:3]}
            raise InputError(f"found {given}, expected coordinator, processes and process")
        if coordinator.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]"):
            local, on_host = process, total
    else:
        for shown, *names in LAUNCHERS:
            if shown not in environment:
                continue
            total, *rest = (_number(environment, name) for name in names)
            if total not in (None, 1):
                break
        else:
            if coordinator is not None:
                raise InputError(
                    f"coordinator: found {coordinator}, expected processes and process as well, or "
                    "a start by srun, mpirun or mpiexec"
                )
            return None
        process, local, on_host = rest[0] or 0, rest[1] or 0, rest[2] or 1
        address = ""
        if shown == SLURM_STEP:
            address, on_host = _slurm_step(environment)
        elif on_host == total:
            run = environment.get("PMIX_NAMESPACE") or str(os.getppid())  # the same of all of them
            address = f"127.0.0.1:{FIRST_PORT + zlib.crc32(run.encode()) % PORTS}"
        coordinator = coordinator or address
    if not coordinator:
        raise InputError(
            f"coordinator: found none for {total} processes on several machines; "
            "expected --coordinator HOST:PORT with the machine of process 0"
        )
    if not re.fullmatch(r".+:\d+", coordinator):
        raise InputError(f"coordinator: found {coordinator!r}, expected HOST:PORT")
    if not 0 <= process < total:
        raise InputError(f"process: found {process} of {total}, expected 0 … {total - 1}")
    return Launch(coordinator, total, process, local, on_host)


def _slurm_step(environment: Mapping[str, str]) -> tuple[str, int]:
    """Return the address of a step's first task, and how many of its tasks are on this machine."""
    job, step, node = (
        _number(environment, f"SLURM_{n}") or 0 for n in ("JOB_ID", "STEP_ID", "NODEID")
    )
    first = re.sub(r"^([^,\[]*)(?:\[(\d+)[^\]]*\])?.*", r"\1\2", environment[SLURM_STEP])
    groups = re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    on_hosts = [int(tasks) for tasks, times in groups for _ in range(int(times or 1))]
    port = FIRST_PORT + (7 * job + step) % PORTS
    return f"{first}:{port}", on_hosts[node] if node < len(on_hosts) else 1


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name)
    if text is not None and not (text.isdecimal() and len(text) < 10):
        raise InputError(f"{name}: found {text[:40]!r}, expected a number of at most 9 digits")
    return None if text is None else int(text)


def start(
    environment: Mapping[str, str] = os.environ, alone: bool = False
) -> FailureDetector | None:
    """Begin as the environment tells; return the failure detector of a run of several processes.

    Before anything is computed. Nothing happens for a process on its own, where no devices were
    asked for. Raises InputError where there are others and it must be ``alone``, and where a
    process has not the devices that were asked for, or other numbers of them than the others. Where
    those are not there within five minutes, JAX aborts this one.
    """
    launch, wanted = find_launch(environment), None
    if alone and launch is not None:
        raise InputError(
            f"processes: found {launch.processes}, expected one: this command does not share its "
            "work out (JAXPRIORS_PROCESSES=1 within srun or mpirun)"
        )
    if launch is None and "JAXPRIORS_DEVICES" not in environment:
        return None
    import jax

    set_up()
    if environment.get("JAXPRIORS_DEVICES", "all") != "all":
        wanted = _number(environment, "JAXPRIORS_DEVICES")
        if not wanted:
            raise InputError(f"devices: found {wanted}, expected at least 1, or all")
    gpus = own_gpus(environment, launch, len(list(GPUS.glob("*"))))
    if gpus is not None or wanted is not None:
        chosen = (gpus or [str(i) for i in range(wanted or 0)])[:wanted]
        for kind in ("cuda", "rocm"):
            jax.config.update(f"jax_{kind}_visible_devices", ",".join(chosen))
    share = max((os.cpu_count() or 1) // (launch.on_host if launch else 1), 1)
    cores = min(processes.core_count(), share)  # a launcher may have shared them out
    if "JAXPRIORS_DEVICES" not in environment:
        cores = 1 << (min(cores, MOST).bit_length() - 1)
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
        sys.stdout = open(os.devnull, "w")  # the first process prints for all  # noqa: SIM115
    return FailureDetector(launch.coordinator.rpartition(":")[0])


def own_gpus(
    environment: Mapping[str, str], launch: Launch | None, present: int
) -> list[str] | None:
    """Return the GPUs of a process that shares the visible ones with others; None for all of them.

    present: GPUs of the machine. Where SLURM gave each process its own, it sees no others.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    shown = visible.split(",") if visible is not None else [str(i) for i in range(present)]
    if launch is None or launch.on_host == 1 or len(shown) < launch.on_host:
        return None
    bound = environment.get("SLURM_GPU_BIND", "")
    if "SLURM_GPUS_PER_TASK" in environment or "per_task" in bound or "single" in bound:
        task = [_number(environment, f"SLURM_{n}") for n in ("STEP_NUM_TASKS", "PROCID")]
        if SLURM_STEP in environment and task == [launch.processes, launch.process]:
            return None  # a task of SLURM, no process of a job whose mpirun started this
    each = len(shown) // launch.on_host
    first = launch.local * each
    return [str(i) for i in range(first, first + each)]
