"""Who looks on from outside: every request with its answer, and what every node's process weighs.

It knows nothing of the nodes but their HTTP addresses and process ids.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests import http1
from tests.nodes import Running

ANSWER_S: Final = 12.0
"""A call is refused after 9 s, parking ends a second later; the rest is for a busy machine."""
PAUSE_S: Final = 0.05
"""Between two requests of one client."""


@dataclass(frozen=True)
class Asked:
    """One request at a node's run (its process id)."""

    capsule: str
    node: str
    pid: int
    began_s: float
    ended_s: float
    status: int
    text: str = ""

    def __str__(self) -> str:
        took = self.ended_s - self.began_s
        return (
            f"{self.capsule} at {self.node}: {self.status or 'no answer'} after {took:.1f} s: {self.text[:150]}"
        )


class Recorder:
    """Clients that ask for ``capsules`` at any node that runs, until ``stop``. ``running`` gives those nodes; a
    request whose node was hurt while it was under way is left out (``hurt``)."""

    def __init__(self, capsules: list[str], clients: int, seed: int) -> None:
        self._capsules, self._seed = capsules, seed
        self._lock = threading.Lock()
        self._nodes: dict[str, Running] = {}
        self._hurt: list[tuple[float, int]] = []
        self.asked: list[Asked] = []
        self._stopping = threading.Event()
        self._clients = [threading.Thread(target=self._ask, args=(at,), daemon=True) for at in range(clients)]

    def start(self) -> None:
        for client in self._clients:
            client.start()

    def stop(self) -> list[Asked]:
        """All requests whose nodes were left alone from their begin to their end."""
        self._stopping.set()
        for client in self._clients:
            client.join(2 * ANSWER_S)
        return [one for one in self.asked if not self._was_hurt(one)]

    def serves(self, node: Running) -> None:
        """The node may be asked from now on."""
        with self._lock:
            self._nodes[node.name] = node

    def hurts(self, node: Running) -> None:
        """Something is done to the node now: it is asked no more, and nobody blames it for what is under way."""
        with self._lock:
            self._nodes.pop(node.name, None)
            self._hurt.append((time.monotonic(), node.process.pid))

    def _was_hurt(self, one: Asked) -> bool:
        return any(pid == one.pid and one.began_s <= at <= one.ended_s for at, pid in self._hurt)

    def _ask(self, at: int) -> None:
        rng = Random(self._seed * 1000 + at)
        while not self._stopping.wait(PAUSE_S):
            with self._lock:
                nodes = list(self._nodes.values())
            if not nodes:
                continue
            node, capsule = rng.choice(nodes), rng.choice(self._capsules)
            began = time.monotonic()
            status, text = 0, ""
            try:
                answer = http1.get(str(node.ready["http"]), f"{capsule}.localhost", "/", ANSWER_S)
                status, text = answer.status, answer.text
                if status == 503 and not answer.header("retry-after"):
                    text = f"(no Retry-After) {text}"
            except (OSError, ValueError, AssertionError) as error:
                text = f"{type(error).__name__}: {error}"
            one = Asked(capsule, node.name, node.process.pid, began, time.monotonic(), status, text)
            with self._lock:
                self.asked.append(one)


def weight(pid: int) -> tuple[int, int]:
    """Resident bytes and open descriptors of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096, len(list(Path(f"/proc/{pid}/fd").iterdir()))
