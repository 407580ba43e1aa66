"""Real nodes of Falak on loopback, started with the command a person types. It measures nothing by itself.

The first start of a run compiles Python's bytecode: a claim about starts begins with one that is not counted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.processes import Process
from bench.run import Run
from falak.client import Client

READY_S: Final = 60.0
SETTLE_S: Final = 60.0
LOOK_S: Final = 0.001
"""Between two looks at a file: the ruler's error of a start."""
FALAK: Final = Path(sys.executable).with_name("falak")


class Node:
    """A node that was started; ``ready`` waits until it serves."""

    def __init__(
        self,
        run: Run,
        name: str,
        tickets: Sequence[str] = (),
        *,
        cpus: set[int] | None = None,
        data: Path | None = None,
    ) -> None:
        self.name = name
        self.data = data or run.fresh(name)
        self._file = run.fresh(f"{name}-ready")
        joins = [word for ticket in tickets for word in ("--join", ticket)]
        listen = ("--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0")
        self.process: Process = run.start(
            [FALAK, "up", "--name", name, "--data", self.data, *listen, "--ready-file", self._file, *joins],
            cpus=cpus,
        )
        self.client = Client(self.data)
        self.http = self.ticket = ""

    def ready(self) -> float:
        """Wait until it has joined and serves: seconds since it was started, within ``LOOK_S``."""
        while not self.is_ready():
            if self.process.ended(LOOK_S):
                raise RuntimeError(f"the node {self.name} ended: {self.process.last_words()}")
            if time.perf_counter() - self.process.started > READY_S:
                raise RuntimeError(f"the node {self.name} was not ready within {READY_S:g} s")
        return time.perf_counter() - self.process.started

    def is_ready(self) -> bool:
        """Whether its ready file is there; reads it the first time."""
        if not self.http and self._file.exists():
            said = json.loads(self._file.read_text())
            self.http, self.ticket = said["http"], said["ticket"]
        return bool(self.http)

    def lists(self, count: int) -> bool:
        """Whether it lists exactly so many members as alive and linked, itself included."""
        alive = [row for row in self.client.nodes() if row["state"] == "alive"]
        return len(alive) == count and all(row["linked"] or row["self"] for row in alive)


def mesh(run: Run, count: int, *, cpus: set[int] | None = None) -> list[Node]:
    """Nodes ``n1``, ``n2``, ... that all list one another."""
    nodes = [Node(run, "n1", cpus=cpus)]
    nodes[0].ready()
    for number in range(2, count + 1):
        nodes.append(Node(run, f"n{number}", [nodes[0].ticket], cpus=cpus))
        nodes[-1].ready()
    all_list(nodes, count)
    return nodes


def all_list(nodes: Sequence[Node], count: int) -> None:
    """Wait until each of the nodes lists ``count`` alive, one node after the other."""
    for node in nodes:
        until(f"{node.name} lists {count} nodes", partial(node.lists, count))


def launch(node: Node, component: Path, name: str, *, call: bool) -> None:
    """Publish a component from a node, through its control API. Raises ``OperatorError`` as it says."""
    with node.client.launch(component, {"name": name}, call=call) as stream:
        assert stream.result["name"] == name


def until(what: str, holds: Callable[[], Any], *, within_s: float = SETTLE_S, pause_s: float = 0.02) -> None:
    """Wait for something that only asking tells. Raises ``RuntimeError`` naming it."""
    ends = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > ends:
            raise RuntimeError(f"waited {within_s:g} s in vain: {what}")
        time.sleep(pause_s)


def end(run: Run, nodes: Sequence[Node]) -> None:
    """End nodes together."""
    for node in nodes:
        node.process.ask_to_end()
    for node in nodes:
        run.end(node.process)
