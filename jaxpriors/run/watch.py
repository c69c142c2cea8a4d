"""Failure detector: where one of a run's processes ends before its time, all of them end.

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
from typing import Any

from jaxpriors.run import processes

FAILED = 1
# of a connection that is silent: seconds until the first question, between two, and how many
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


class FailureDetector:
    """This process's connection to the relay; a thread ends the process when the relay says so."""

    def __init__(self, host: str) -> None:
        """Connect; all processes do. host: where the others find the first one."""
        self._index, self._count = processes.index(), processes.count()
        self._finished = threading.Event()
        self._reported = ""  # this process's own message
        relay = _Relay(self._count) if self._index == 0 else None
        port, token = processes.gather(relay and (relay.port, relay.token))[0]
        self._names = processes.gather(socket.gethostname())
        address = "localhost" if relay else host.strip("[]")
        self._connection = socket.create_connection((address, port), timeout=60)
        self._connection.settimeout(None)
        _keep_alive(self._connection)
        _send(self._connection, process=self._index, token=token)
        threading.Thread(target=self._listen, daemon=True).start()

    def leave(self) -> None:
        """Wait at the end of a run until all are there, so that none is taken for dead."""
        _send(self._connection, done=True)
        self._finished.wait()

    def end(self, code: int, message: str) -> None:
        """End all processes with this exit code; does not return."""
        self._reported = message
        _send(self._connection, code=code, message=message)
        time.sleep(20)  # the answer comes sooner
        self._exit(self._index, code, message)

    def _listen(self) -> None:
        """Read the relay's one message; a connection that ends without one is its death."""
        verdict: dict[str, Any] = {"process": 0, "code": FAILED, "message": "died"}
        with contextlib.suppress(OSError), self._connection.makefile("rb") as lines:
            if line := lines.readline():
                verdict = json.loads(line)
        if "done" in verdict:
            self._finished.set()
        else:
            self._exit(**verdict)

    def _exit(self, process: int, code: int, message: str) -> None:
        # what many found is printed by one of them and by the first
        if self._index in (0, process) or message != self._reported:
            where = f"process {process} of {self._count} ({self._names[process]})"
            print(f"error: {where}: {message}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Relay:
    """The first process's server: it reads from all processes and sends all what ends the run."""

    def __init__(self, count: int) -> None:
        self.token = secrets.token_hex(16)
        self._count = count
        self._connections: dict[int, socket.socket] = {}
        self._done: set[int] = set()
        self._over = False
        self._lock = threading.Lock()
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        self._server = socket.create_server(
            ("", 0), family=family, backlog=count, dualstack_ipv6=both
        )
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        """Read one process's messages, from the first to the last."""
        number = None
        _keep_alive(connection)
        with contextlib.suppress(OSError, ValueError), connection.makefile("rb") as messages:
            first = json.loads(messages.readline(1000))
            if first.get("token") != self.token:
                connection.close()
                return
            number = first["process"]
            self._connections[number] = connection
            for message in map(json.loads, messages):
                if "done" not in message:
                    self._broadcast(process=number, **message)
                    continue
                with self._lock:
                    self._done.add(number)
                    complete = len(self._done) == self._count
                if complete:
                    self._broadcast(done=True)
        if number is not None and number not in self._done:
            self._broadcast(process=number, code=FAILED, message="died")

    def _broadcast(self, **message: Any) -> None:
        """Send to all processes, the own one last; only the first message counts."""
        with self._lock:
            if self._over:
                return
            self._over = True
        for number in sorted(self._connections, reverse=True):
            if number == 0:
                time.sleep(0.2)  # the others read before this process ends
            _send(self._connections[number], **message)


def _send(connection: socket.socket, **message: Any) -> None:
    with contextlib.suppress(OSError):  # of one that is gone, whose reader finds out
        connection.sendall(json.dumps(message).encode() + b"\n")


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # of Linux
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
