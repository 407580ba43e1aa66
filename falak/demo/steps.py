"""What the demo does with its nodes, step by step, and what must be true after each.

Every step gives back what the nodes themselves recorded; one that did not happen raises ``OperatorError`` which
says what was missing. It prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, TypeVar

from falak.client.shapes import Stage
from falak.client.words import Event
from falak.core.settings import KEEPERS, Settings
from falak.demo.load import Reply, request
from falak.demo.mesh import LocalMesh, LocalNode
from falak.errors import OperatorError

CAPSULE: Final = "hello"
HOST: Final = f"{CAPSULE}.localhost"
COMPONENT: Final = Path(__file__).with_name("hello.wasm")
"""The same bytes as ``examples/hello/hello.wasm``, so that an installed Falak has them too (tested)."""
IDLE: Final = "3s"
"""Without a request for this long the copy ends: short, so that the story shows it (60 s is usual)."""
FIELDS: Final = {
    "name": CAPSULE,
    "version": "1.0.0",
    "idle": IDLE,
    "env": {"GREETING": "hello from a capsule"},
}
SETTLE_S: Final = 10.0
"""Longest wait for the nodes to agree: on who is there, to have the capsule, on what happened."""
POLL_S: Final = 0.005
MUST_HAPPEN: Final = (
    "request.parked",
    "election.called",
    "election.proposed",
    "election.ack",
    "election.won",
    "momentum.started",
    "request.answered",
)
"""Events of a first request: without one of them the story is not true."""

T = TypeVar("T")


@dataclass(slots=True)
class Published:
    """A launch: its stages with their times, at how many nodes the capsule can start at once (all, in a small
    mesh; in a larger one its keepers), and how long until then."""

    stages: list[Stage]
    ready_at: int
    ready_everywhere_ms: float


@dataclass(slots=True)
class FirstRequest:
    """The request that found nothing running: its answer, and its story from all nodes, by time."""

    reply: Reply
    events: Sequence[Event]
    cause: str

    def first(self, event: str) -> Event:
        """The first event of a kind; it happened (``MUST_HAPPEN``)."""
        return next(entry for entry in self.events if entry["event"] == event)

    def all(self, event: str) -> Sequence[Event]:
        """Every event of a kind."""
        return [entry for entry in self.events if entry["event"] == event]


def start(mesh: LocalMesh, count: int) -> float:
    """Start the nodes, the first one alone. Returns the milliseconds from the last one's start until all see
    all."""
    names = [f"n{number}" for number in range(1, count + 1)]
    first = mesh.start(names[:1])[0]
    mesh.start(names[1:], first.ticket)
    began = time.monotonic()
    await_(
        f"every node sees {count} nodes alive",
        lambda: all(_alive(node) == set(names) for node in mesh.nodes) or None,
        lambda: "; ".join(f"{node.name} sees {' '.join(sorted(_alive(node)))}" for node in mesh.nodes),
    )
    return (time.monotonic() - began) * 1000


def _alive(node: LocalNode) -> set[str]:
    return {row["name"] for row in node.client.nodes() if row["state"] == "alive"}


def publish(mesh: LocalMesh, at: LocalNode) -> Published:
    """Publish the capsule at a node, cold, and wait until it could start at once wherever it is likely to."""
    wanted = len(mesh.nodes) if len(mesh.nodes) <= Settings().candidates_all else KEEPERS
    began = time.monotonic()
    with at.client.launch(COMPONENT, FIELDS, call=False) as stream:
        stages = list(stream)
    await_(
        f"{wanted} nodes have the capsule compiled",
        lambda: sum(_level(node) == "prepared" for node in mesh.nodes) >= wanted or None,
        lambda: "; ".join(f"{node.name}: {_level(node)}" for node in mesh.nodes),
    )
    return Published(stages, wanted, (time.monotonic() - began) * 1000)


def _level(node: LocalNode) -> str:
    return next((row["artifact"] for row in node.client.capsules() if row["name"] == CAPSULE), "unknown")


def first_request(at: LocalNode) -> FirstRequest:
    """Ask a node for the capsule that runs nowhere, and gather what happened."""
    reply = ask(at, "/first")
    story = await_(
        "the nodes tell the first request's story to its end",
        lambda: _whole(at.client.why(CAPSULE)["events"]),
        lambda: f"these events were never told: {' '.join(_untold(at.client.why(CAPSULE)['events']))}",
    )
    return FirstRequest(reply, story, story[0]["cause"])


def _untold(events: Sequence[Event]) -> list[str]:
    told = {event["event"] for event in events}
    return [event for event in MUST_HAPPEN if event not in told]


def _whole(events: Sequence[Event]) -> Sequence[Event] | None:
    return None if _untold(events) else events


def warm_request(at: LocalNode, before: FirstRequest) -> Reply:
    """Ask again: an answer without an election."""
    reply = ask(at, "/second")
    with at.client.events(capsule=CAPSULE) as stream:
        elections = {event["cause"] for event in stream if event["event"] == "election.called"}
    if elections - {before.cause}:
        raise OperatorError(f"an election was called for the second request at {at.name}: it was not warm")
    return reply


def ask(at: LocalNode, path: str) -> Reply:
    """One request that must be answered with 200 and the capsule's words."""
    try:
        reply = request(at.http, HOST, path)
    except (OSError, HTTPException) as error:
        raise OperatorError(f"the request at {at.name} was not answered: {error}", at.last_words()) from error
    if reply.status != 200 or CAPSULE not in reply.body:
        what = f"{reply.status}: {reply.body.strip()[:300]}"
        raise OperatorError(f"the request at {at.name} was answered with {what}", at.last_words())
    return reply


def copies(at: LocalNode) -> list[str]:
    """The nodes where a copy runs. Raises when there is none, or a node did not tell."""
    told = at.client.ps()
    if told["missing"] or not told["rows"]:
        missing = " ".join(told["missing"]) or "nobody"
        raise OperatorError(f"falak ps lists {len(told['rows'])} copies; {missing} did not answer")
    return [row["node"] for row in told["rows"] if row["state"] == "active"]


def await_(
    what: str, attempt: Callable[[], T | None], state: Callable[[], Any], within_s: float = SETTLE_S
) -> T:
    """What ``attempt`` gives once it is not None; ``OperatorError`` with the ``state`` at the deadline."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = attempt()
        if found is not None:
            return found
        time.sleep(POLL_S)
    raise OperatorError(f"it did not happen within {within_s:g} s that {what}", str(state()))
