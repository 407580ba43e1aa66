"""A steady load: requests at a fixed rate from several clients, each told from its begin to its end.

Every client keeps one connection to one node and opens another when that one fails. What a request that fails
means is the claim's business; here it is only told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench.http import Connection

STOP_S: Final = 20.0
"""An answer is waited for this long at the end (a request waits 10 s at most where nobody can answer it)."""


class Asked(NamedTuple):
    """One request: monotonic seconds, and its status; 0 with why it has none."""

    began_s: float
    ended_s: float
    status: int
    why: str = ""


class Paced:
    """``rate_s`` requests a second, shared out among ``addresses``, from ``start`` to ``stop``."""

    def __init__(self, addresses: Sequence[str], host: str, rate_s: float) -> None:
        self.asked: list[Asked] = []
        self._stopping = threading.Event()
        pause_s = len(addresses) / rate_s
        self._clients = [
            threading.Thread(target=self._ask, args=(address, host, pause_s, at / rate_s), daemon=True)
            for at, address in enumerate(addresses)
        ]

    def start(self) -> None:
        """Begin to ask."""
        for client in self._clients:
            client.start()

    def stop(self) -> list[Asked]:
        """Ask nothing more; all that was asked, the requests under way included."""
        self._stopping.set()
        for client in self._clients:
            client.join(STOP_S)
        return sorted(self.asked)

    def _ask(self, address: str, host: str, pause_s: float, offset_s: float) -> None:
        connection: Connection | None = None
        due = time.monotonic() + offset_s
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + pause_s, time.monotonic() - pause_s)
            began = time.monotonic()
            try:
                connection = connection or Connection(address)
                answer = connection.get(host)
                self.asked.append(Asked(began, time.monotonic(), answer.status))
            except (OSError, ValueError, IndexError) as error:
                self.asked.append(Asked(began, time.monotonic(), 0, f"{type(error).__name__}: {error}"))
                connection = None
        if connection:
            connection.close()
