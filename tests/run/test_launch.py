"""What launchers tell their processes, as their manuals have it."""

import pytest

from jaxpriors.cli.main import with_launch
from jaxpriors.errors import InputError
from jaxpriors.run.launch import FIRST_PORT, PORTS, Launch, find_launch, own_gpus

SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_STEP_NODELIST": "gpu[007-008,012]",
    "SLURM_STEP_TASKS_PER_NODE": "3(x2),1",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
MPIRUN = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_NAMESPACE": "prterun-17@1",
}
MPIEXEC = {"PMI_SIZE": "2", "PMI_RANK": "1", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
PORT = FIRST_PORT + (7 * 4711 + 2) % PORTS


def test_a_process_on_its_own():
    assert find_launch({}) is None
    assert find_launch({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None  # the batch script
    assert find_launch(SRUN | {"SLURM_STEP_NUM_TASKS": "1"}) is None
    assert find_launch(SRUN | {"JAXPRIORS_PROCESSES": "1"}) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[007-008,012]", "gpu007"),
        ("gpu[7,9]", "gpu7"),
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("a-b-03,c[1-2]", "a-b-03"),
    ],
)
def test_srun_tells_the_task_and_the_first_node(nodes, first):
    found = find_launch(SRUN | {"SLURM_STEP_NODELIST": nodes})
    assert found == Launch(f"{first}:{PORT}", 7, 4, 1, 3)
    last = SRUN | {"SLURM_PROCID": "6", "SLURM_LOCALID": "0", "SLURM_NODEID": "2"}
    assert find_launch(last) == Launch(f"gpu007:{PORT}", 7, 6, 0, 1)


def test_open_mpi_tells_ranks_and_one_host_needs_no_coordinator():
    given = {"JAXPRIORS_COORDINATOR": "node1:4000"}
    assert find_launch(MPIRUN | given) == Launch("node1:4000", 4, 3, 1, 2)
    with pytest.raises(InputError, match="found none for 4 processes on several machines"):
        find_launch(MPIRUN)
    one_host = find_launch(MPIRUN | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4"})
    assert one_host.coordinator.startswith("127.0.0.1:")
    other = find_launch(MPIRUN | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0"})
    assert other.coordinator == one_host.coordinator
    assert find_launch(MPIEXEC) == Launch(find_launch(MPIEXEC).coordinator, 2, 1, 1, 2)
    # within a job of SLURM, whose srun may have started mpiexec's own processes
    assert find_launch(SRUN | MPIEXEC) == find_launch(MPIEXEC)
    other = {name: value for name, value in MPIEXEC.items() if name.startswith("PMI_")}
    assert find_launch(SRUN | other) == find_launch(SRUN)  # srun --mpi=pmi2


def test_a_named_coordinator():
    names = ("COORDINATOR", "PROCESSES", "PROCESS")
    given = {f"JAXPRIORS_{n}": v for n, v in zip(names, ("h:1", "2", "1"), strict=True)}
    assert find_launch(SRUN | given) == Launch("h:1", 2, 1)
    here = find_launch(given | {"JAXPRIORS_COORDINATOR": "localhost:1"})
    assert here == Launch("localhost:1", 2, 1, 1, 2)
    for name, value, message in (
        ("PROCESS", "2", r"process: found 2 of 2, expected 0 … 1"),
        ("PROCESS", "x", "JAXPRIORS_PROCESS: found 'x', expected a number"),
        ("PROCESS", "9" * 5000, "JAXPRIORS_PROCESS: found '9+', expected a number of at most 9"),
        ("COORDINATOR", "h", "coordinator: found 'h', expected HOST:PORT"),
    ):
        with pytest.raises(InputError, match=message):
            find_launch(given | {f"JAXPRIORS_{name}": value})
    for name in names:
        with pytest.raises(InputError, match=r"expected coordinator, processes and process|srun"):
            find_launch({n: v for n, v in given.items() if n != f"JAXPRIORS_{name}"})


def test_options_become_variables(monkeypatch):
    for name in ("DEVICES", "PROCESS"):
        monkeypatch.setenv(f"JAXPRIORS_{name}", "before")
    rest = with_launch(["pretrain", "--devices", "all", "a.h5", "--process=3", "--seed", "1"])
    assert rest == ["pretrain", "a.h5", "--seed", "1"]
    import os

    assert [os.environ[f"JAXPRIORS_{n}"] for n in ("DEVICES", "PROCESS")] == ["all", "3"]
    with pytest.raises(InputError, match="--devices: found nothing behind it"):
        with_launch(["pretrain", "--devices"])


def test_processes_of_a_machine_share_its_gpus():
    launches = [Launch("h:1", 4, i, i % 2, 2) for i in range(4)]
    assert [own_gpus({}, one, 4) for one in launches] == [["0", "1"], ["2", "3"]] * 2
    assert own_gpus({"CUDA_VISIBLE_DEVICES": "5"}, launches[1], 8) is None  # SLURM gave it one
    assert own_gpus({"CUDA_VISIBLE_DEVICES": "5,6"}, launches[1], 8) == ["1"]  # of those visible
    three = {"CUDA_VISIBLE_DEVICES": "0,1,2"}  # of a task that has them for itself, or of a machine
    task, job = find_launch(SRUN), {"SLURM_GPUS_PER_TASK": "3"}
    assert own_gpus(SRUN | three, task, 8) == ["1"]
    assert own_gpus(SRUN | three | job, task, 8) is None
    assert own_gpus(SRUN | three | job, launches[1], 8) == ["1"]  # mpirun's
    assert own_gpus({}, None, 8) is None and own_gpus({}, launches[0], 0) is None
