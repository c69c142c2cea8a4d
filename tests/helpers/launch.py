"""Processes of one run on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time


def start(arguments, count, devices=1, environment=None):
    """``python *arguments`` as so many processes of one run, each with so many devices.

    arguments: a list, or a function from the process's number to it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = []
    for number in range(count):
        own = arguments(number) if callable(arguments) else arguments
        told = {"JAXPRIORS_DEVICES": str(devices)}
        if count > 1:
            told |= {
                "JAXPRIORS_COORDINATOR": f"127.0.0.1:{port}",
                "JAXPRIORS_PROCESSES": str(count),
                "JAXPRIORS_PROCESS": str(number),
            }
        begun.append(
            subprocess.Popen(
                [sys.executable, *own],
                env={**os.environ, **told, **(environment or {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return begun


def ended(begun, seconds=150):
    """(exit code, output, errors) of each, all of them killed where one takes longer."""
    limit = time.monotonic() + seconds
    try:
        results = []
        for process in begun:
            out, err = process.communicate(timeout=max(limit - time.monotonic(), 1))
            results.append((process.returncode, out, err))
        return results
    finally:
        for process in begun:
            process.kill()
