"""Read files for `tests.test_malformed` in a process of their own.

    python -m tests.helpers.malformed_worker

reads requests (a line of JSON: kind, action, path), and answers each with a line: the outcome
(read, refused, traceback), a digest of what was read or the message, and the largest growth of
memory in bytes. What crashes, hangs or grows is this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import jax

from jaxpriors.errors import InputError
from jaxpriors.run.storage import digest
from tests.helpers.malformed_kinds import KINDS, flat

MEMORY = 6 * 2**30  # address space beyond what the process has at its start


def peak() -> int:
    """The most memory that this process had since it was asked last, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return int(found[1]) * 1024 if found else 0


def answer(kind: str, action: str, path: Path) -> dict[str, Any]:
    """Do what is asked, and say how it ended."""
    peak()
    before = peak()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = KINDS[kind].actions[action](path)
        outcome, text = "read", digest(*flat(found))
    except InputError as error:
        outcome, text = "refused", str(error)
    except BaseException:
        outcome, text = "traceback", traceback.format_exc()
    return {"outcome": outcome, "text": text, "memory": peak() - before}


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
    for line in sys.stdin:
        asked = json.loads(line)
        out.write(json.dumps(answer(asked["kind"], asked["action"], Path(asked["path"]))) + "\n")
        out.flush()


if __name__ == "__main__":
    jax.config.update("jax_disable_most_optimizations", True)
    main()
