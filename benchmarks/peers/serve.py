"""Serve orders to a peer: orders and answers are JSON, a document a line.

    {"do": "build", …}                   the network with these weights
    {"do": "jets", "file": npz}          momenta (B, P, 4), features (B, P, F), multiplicity (B,)
    {"do": "outputs", "file": npz, "task": …}    writes one row of outputs for each jet
    {"do": "run", "task": …, "calls": n} → {"seconds": of all calls}
    {"do": "memory", "task": …}          → {"grown": bytes by which a call of the task grows}

An order that fails is answered by {"error": one line}.
Runs in the peer's environment: nothing of jaxpriors may be imported here.
"""

import ctypes
import gc
import json
import sys
import traceback


def growth(call):
    """Measure the bytes by which the process grows in a call, at its peak. Linux only."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak
    start = _memory("VmRSS")
    call()
    return _memory("VmHWM") - start


def _memory(name):
    """Read the bytes that the process has (VmRSS) or had at its peak (VmHWM)."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(name))
    return 1024 * int(line.split()[1])


def serve(server):
    """Call the server's method that each line of the input names, until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what the peer prints is no answer
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(server, order.pop("do"))(**order)
        except Exception as error:
            traceback.print_exc()
            words = " ".join(str(error).split())[:200]
            answer = {"error": f"{type(error).__name__}: {words}"}
        print(json.dumps(answer or {}), file=answers, flush=True)
