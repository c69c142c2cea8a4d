"""Measure time, memory and FLOPs of the networks, alone and against their peers.

| command                             | what it measures                                         |
|-------------------------------------|----------------------------------------------------------|
| `python -m benchmarks.against_peers`| ours against `lgatr` and OmniLearn, in one run            |
| `python -m benchmarks.gpu`          | all that is claimed of GPUs, in ten minutes               |
| `python -m benchmarks.resources`    | Table 6 of arXiv:2603.08802: FLOPs, latency, memory       |
| `python -m benchmarks.scaling`      | particles, batch, devices, precision, loader, utilisation |
| `python -m benchmarks.ensembles`    | several networks as one program, against one by one       |
| `python -m benchmarks.on_paper`     | what GPUs should need, from counts and data sheets        |

Each prints a table and with ``--json FILE`` writes it.
"""
