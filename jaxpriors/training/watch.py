"""The processes of a run watch each other: where one ends before its time, all of them end.

Each process holds a connection to a relay in the first one. The operating system closes it when a
process dies, and takes it for closed when the machine does not answer for about half a minute.
JAX's own time-outs would leave the others waiting for minutes, without a name.
"""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from jaxpriors import processes

FAILED = 1
# of a connection that is silent: seconds until the first question, between two, and how many
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


class Watch:
    """This process's part in the watch over all of a run."""

    def __init__(self, host: str) -> None:
        """Begin; all processes do. host: where the others find the first one."""
        self._index, self._count = processes.index(), processes.count()
        self._finished = threading.Event()
        self._told = ""  # what this process has told to the others
        relay = _Relay(self._count) if self._index == 0 else None
        port, token = processes.of_first(relay and (relay.port, relay.token))
        self._names = processes.gather(socket.gethostname())
        address = "localhost" if relay else host.strip("[]")
        self._line = socket.create_connection((address, port), timeout=60)
        self._line.settimeout(None)
        _keep_alive(self._line)
        self._send({"process": self._index, "token": token})
        threading.Thread(target=self._listen, daemon=True).start()

    def leave(self) -> None:
        """At the end of a run: wait until all are there, so that none is taken for dead."""
        self._send({"done": True})
        self._finished.wait()

    def end(self, code: int, message: str) -> None:
        """End all processes with this exit code; does not return."""
        self._told = message
        self._send({"code": code, "message": message})
        time.sleep(20)  # the answer comes sooner
        self._exit({"process": self._index, "code": code, "message": message})

    def _send(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # where the relay is gone, listening tells
            self._line.sendall(_encoded(message))

    def _listen(self) -> None:
        """Until all are done, or one ended before."""
        verdict = {"process": 0, "code": FAILED, "message": "died"}
        with contextlib.suppress(OSError), self._line.makefile("rb") as lines:
            for line in lines:
                found = json.loads(line)
                if "done" in found:
                    self._finished.set()
                    return
                verdict = found
                break
        self._exit(verdict)

    def _exit(self, verdict: Mapping[str, Any]) -> None:
        number, message = verdict["process"], verdict["message"]
        # what many found is told by one of them and by the first
        if self._index in (0, number) or message != self._told:
            where = f"process {number} of {self._count} ({self._names[number]})"
            print(f"error: {where}: {message}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(verdict["code"])


class _Relay:
    """Hears of all processes, and passes on to all what ends the run."""

    def __init__(self, count: int) -> None:
        self.token = secrets.token_hex(16)
        self._count = count
        self._lines: dict[int, socket.socket] = {}
        self._done: set[int] = set()
        self._over = False
        self._lock = threading.Lock()
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        self._door = socket.create_server(
            ("", 0), family=family, backlog=count, dualstack_ipv6=both
        )
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._welcome, daemon=True).start()

    def _welcome(self) -> None:
        while True:
            line, _ = self._door.accept()
            threading.Thread(target=self._hear, args=(line,), daemon=True).start()

    def _hear(self, line: socket.socket) -> None:
        """One process, from its first word to its last."""
        number = None
        _keep_alive(line)
        with contextlib.suppress(OSError, ValueError), line.makefile("rb") as messages:
            first = json.loads(messages.readline(1000))
            if first.get("token") != self.token:
                line.close()
                return
            number = first["process"]
            self._lines[number] = line
            for text in messages:
                message = json.loads(text)
                if "done" in message:
                    self._finish(number)
                else:
                    self._tell({"process": number, **message})
        if number is not None and number not in self._done:
            self._tell({"process": number, "code": FAILED, "message": "died"})

    def _finish(self, number: int) -> None:
        with self._lock:
            self._done.add(number)
            complete = len(self._done) == self._count
        if complete:
            self._tell({"done": True})

    def _tell(self, message: Mapping[str, Any]) -> None:
        """All processes, the own one last; what is told later no longer counts."""
        with self._lock:
            if self._over:
                return
            self._over = True
        for number in sorted(self._lines, reverse=True):
            if number == 0:
                time.sleep(0.2)  # the others read before this process ends
            with contextlib.suppress(OSError):
                self._lines[number].sendall(_encoded(message))


def _encoded(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _keep_alive(line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # of Linux
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
