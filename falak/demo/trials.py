"""What can go wrong, and what comes of it: the node that runs the capsule is killed, nobody asks for a while, the
node that published it is killed too.

As in ``steps``: each gives back what was seen, one that did not end well raises ``OperatorError``. It prints nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from falak.demo.load import Reply, Steady
from falak.demo.mesh import LocalMesh, LocalNode
from falak.demo.steps import CAPSULE, HOST, ask, await_, copies
from falak.errors import OperatorError

RATE_S: Final = 100.0
BEFORE_S: Final = 0.3
AFTER_S: Final = 1.0
WAITED_S: Final = 0.01
"""A request that took longer than this waited for something else than its turn."""
IDLE_WAIT_S: Final = 20.0
"""Longest wait for the end of a copy that nobody asks for; ``steps.IDLE`` is what it is launched with."""


@dataclass(slots=True)
class Killed:
    """A node killed under load: its name, who answered next and after how many ms, how many requests were asked
    (every one of them was answered), how many waited because of it, and the longest wait."""

    name: str
    by: str
    next_ms: float
    requests: int
    waited: int
    longest_ms: float


@dataclass(slots=True)
class Slept:
    """A copy that nobody asked for: how long until it ended, and the request that brought it back."""

    after_s: float
    reply: Reply
    by: str


def living(mesh: LocalMesh) -> list[LocalNode]:
    """Nodes whose processes run."""
    return [node for node in mesh.nodes if node.process.poll() is None]


def kill_holder(mesh: LocalMesh) -> Killed:
    """SIGKILL the node that runs the capsule while the others are asked for it."""
    holder = next(node for node in living(mesh) if node.name == copies(living(mesh)[0])[0])
    others = [node for node in living(mesh) if node is not holder]
    load = Steady([(node.name, node.http) for node in others], HOST, "/kill", RATE_S)
    load.start()
    time.sleep(BEFORE_S)
    killed = time.monotonic()
    holder.process.kill()
    holder.process.wait()
    time.sleep(AFTER_S)
    asked = load.stop()
    wrong = [f"{one.node}: {one.status or 'no answer'} {one.why}" for one in asked if one.status != 200]
    if wrong:
        raise OperatorError(f"{len(wrong)} of {len(asked)} requests were lost", "\n".join(wrong[:5]))
    after = [one for one in asked if one.began_s >= killed]
    by = " ".join(copies(others[0]))
    longest = max(one.ended_s - one.began_s for one in asked)
    waited = sum(one.ended_s - one.began_s > WAITED_S for one in asked if one.ended_s >= killed)
    next_ms = (min(one.ended_s for one in after) - killed) * 1000
    return Killed(holder.name, by, next_ms, len(asked), waited, longest * 1000)


def sleep_and_wake(mesh: LocalMesh) -> Slept:
    """Ask nothing until the copy is gone, then ask again."""
    began = time.monotonic()
    node = living(mesh)[0]
    await_(
        "the copy that nobody asks for ends",
        lambda: None if running(node) else True,
        lambda: f"falak ps: {running(node)}",
        IDLE_WAIT_S,
    )
    after_s = time.monotonic() - began
    reply = ask(living(mesh)[-1], "/back")
    return Slept(after_s, reply, " ".join(copies(node)))


def running(at: LocalNode) -> list[Any]:
    """Copies that run, as a node lists them."""
    return [row["node"] for row in at.client.ps()["rows"] if row["capsule"] == CAPSULE]


def kill_publisher(mesh: LocalMesh) -> tuple[LocalNode, Reply]:
    """SIGKILL the node that published the capsule, if it still lives, and ask another one."""
    publisher, *others = mesh.nodes
    if publisher.process.poll() is None:
        publisher.process.kill()
        publisher.process.wait()
    at = next(node for node in reversed(others) if node.process.poll() is None)
    return at, ask(at, "/still-here")
