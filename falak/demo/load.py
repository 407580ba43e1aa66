"""Many requests through several nodes, as fast as they go or at a steady rate, and what they took. Owns
connections; kept open, one a node."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Final, NamedTuple

REQUEST_S: Final = 10.0
"""A request without an answer by then is an error."""
STOP_S: Final = 2 * REQUEST_S
"""Clients of a steady load are waited for at its end."""


@dataclass(slots=True)
class Reply:
    """One answer: what it took, its status and body."""

    ms: float
    status: int
    body: str


@dataclass(slots=True)
class Result:
    """What became of a load: milliseconds of every answered request by node, and what went wrong."""

    wall_s: float = 0.0
    by_node: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Requests answered with 200."""
        return sum(len(times) for times in self.by_node.values())

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return self.answered / self.wall_s if self.wall_s else 0.0

    def percentile_ms(self, share: float) -> float:
        """The time that the given share (0 to 1) of answers took at most."""
        times = sorted(time for times in self.by_node.values() for time in times)
        return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def request(http: str, host: str, path: str) -> Reply:
    """One request on a connection of its own. Raises ``OSError`` or ``HTTPException``."""
    connection = _connect(http)
    try:
        return _ask(connection, host, path)
    finally:
        connection.close()


def run(targets: Sequence[tuple[str, str]], host: str, path: str, total: int) -> Result:
    """``total`` requests, shared out among ``targets`` (name, ``HOST:PORT``), one after another at each."""
    result = Result(by_node={name: [] for name, _ in targets})
    shares = [total // len(targets) + (at < total % len(targets)) for at in range(len(targets))]
    threads = [
        threading.Thread(target=_run_one, args=(result, name, http, host, path, share))
        for (name, http), share in zip(targets, shares, strict=True)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.wall_s = time.perf_counter() - began
    return result


def _run_one(result: Result, name: str, http: str, host: str, path: str, share: int) -> None:
    connection = _connect(http)
    for _ in range(share):
        try:
            reply = _ask(connection, host, path)
        except (OSError, HTTPException) as error:
            result.errors.append(f"{name}: {error or type(error).__name__}")
            connection.close()
            continue
        if reply.status == 200:
            result.by_node[name].append(reply.ms)
        else:
            result.errors.append(f"{name}: status {reply.status}: {reply.body.strip()[:200]}")
    connection.close()


def _connect(http: str) -> HTTPConnection:
    host, _, port = http.rpartition(":")
    return HTTPConnection(host.strip("[]"), int(port), timeout=REQUEST_S)


def _ask(connection: HTTPConnection, host: str, path: str) -> Reply:
    began = time.perf_counter()
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    body = response.read()
    return Reply((time.perf_counter() - began) * 1000, response.status, body.decode(errors="replace"))


class Asked(NamedTuple):
    """One request of a steady load: its begin and end (monotonic seconds), and its status; 0 with why it has
    none."""

    began_s: float
    ended_s: float
    node: str
    status: int
    why: str = ""


class Steady:
    """``rate_s`` requests a second, shared out among ``targets`` (name, ``HOST:PORT``), from ``start`` to ``stop``.
    Every client keeps one connection to one node and opens another when that one fails."""

    def __init__(self, targets: Sequence[tuple[str, str]], host: str, path: str, rate_s: float) -> None:
        self._asked: list[Asked] = []
        self._stopping = threading.Event()
        pause_s = len(targets) / rate_s
        self._clients = [
            threading.Thread(target=self._ask, args=(*target, host, path, pause_s, at / rate_s), daemon=True)
            for at, target in enumerate(targets)
        ]

    def start(self) -> None:
        """Begin to ask."""
        for client in self._clients:
            client.start()

    def stop(self) -> list[Asked]:
        """Ask nothing more; all that was asked, by its begin, the requests under way included."""
        self._stopping.set()
        for client in self._clients:
            client.join(STOP_S)
        return sorted(self._asked)

    def _ask(self, name: str, http: str, host: str, path: str, pause_s: float, offset_s: float) -> None:
        connection = _connect(http)
        due = time.monotonic() + offset_s
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + pause_s, time.monotonic() - pause_s)
            began, status, why = time.monotonic(), 0, ""
            try:
                reply = _ask(connection, host, path)
                status, why = reply.status, "" if reply.status == 200 else reply.body.strip()[:200]
            except (OSError, HTTPException) as error:
                why = f"{type(error).__name__}: {error}"
                connection.close()  # it opens again by itself
            self._asked.append(Asked(began, time.monotonic(), name, status, why))
        connection.close()
