"""Real nodes that are killed, stand still, or come back: who knows of it, when, and what becomes of it.

The times are of the machine's clock, as each node recorded the event; a busy machine is given slack above what
docs/concepts/membership.md promises only where that promise is for eight nodes on an idle one.
"""

import signal
import time
from statistics import median
from typing import Any

import pytest

from tests.integration.conftest import Mesh, Running, until

NODES = 8


def told(node: Running, event: str, name: str, since: float) -> list[Any]:
    return [item for item in node.events(event) if item["member"] == name and item["at"] >= since]


def known_after_s(
    survivors: list[Running], event: str, name: str, since: float, deadline_s: float
) -> list[float]:
    """Seconds after which each survivor recorded the event of the named node, once all have."""

    def all_know() -> list[float]:
        first = [told(node, event, name, since) for node in survivors]
        return [items[0]["at"] - since for items in first] if all(first) else []

    found = until(all_know, f"{event} of {name} at {len(survivors)} nodes", deadline_s)
    assert isinstance(found, list)
    return found


def incarnation(by: Running, of: Running) -> int:
    return int(next(row["incarnation"] for row in by.client.nodes() if row["name"] == of.name))


@pytest.mark.timeout(200)
def test_a_killed_and_a_stopped_node_are_known_to_all_in_time(mesh: Mesh) -> None:
    nodes = mesh.grow(NODES)
    seed, victim, *others = nodes
    since = time.time()
    victim.end(signal.SIGKILL)
    killed = known_after_s([seed, *others], "node.drop", victim.name, since, 10.0)
    print(f"\nSIGKILL: dropped by all, median {median(killed):.2f} s, last {max(killed):.2f} s")
    assert median(killed) <= 3.0

    still, *others = others
    since = time.time()
    still.process.send_signal(signal.SIGSTOP)
    suspected = known_after_s([seed, *others], "node.suspect", still.name, since, 10.0)
    dropped = known_after_s([seed, *others], "node.drop", still.name, since, 15.0)
    print(
        f"SIGSTOP: suspected {median(suspected):.2f} s, dropped {median(dropped):.2f}, last {max(dropped):.2f} s"
    )
    assert median(suspected) <= 2.5 and median(dropped) <= 10.0

    before = incarnation(seed, still)
    still.process.send_signal(signal.SIGCONT)
    mesh.settle([seed, still, *others])
    until(lambda: incarnation(seed, still) > before, "it refutes what was said of it")
    assert still.events("node.refute")
    assert not told(still, "node.drop", seed.name, since), "it blamed the others for its own sleep"


def test_a_short_stop_is_refuted_and_nobody_is_dropped(mesh: Mesh) -> None:
    nodes = mesh.grow(5)
    seed, still, *others = nodes
    since = time.time()
    still.process.send_signal(signal.SIGSTOP)
    known_after_s([seed, *others], "node.suspect", still.name, since, 10.0)
    still.process.send_signal(signal.SIGCONT)
    known_after_s([seed, *others], "node.back", still.name, since, 10.0)
    mesh.settle(nodes)
    assert not [item for node in nodes for item in node.events("node.drop")]


def test_a_seed_killed_and_started_without_a_ticket_is_whole_again(mesh: Mesh) -> None:
    seed, *others = mesh.grow(3)
    seed.end(signal.SIGKILL)
    began = time.monotonic()
    again = mesh.start(seed.name, data=seed.data)
    until(again.serves, "the seed serves again", 10.0)
    mesh.settle([again, *others])
    assert time.monotonic() - began <= 10.0
