"""``Client``: a method an operation of the control API, synchronous, every wait bounded.

Owns the names, arguments and deadlines of the operations. Errors are ``OperatorError`` as the node says them,
or ``NoNode``. A client holds no connection: each call makes its own, so it outlives the node's restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from falak.client.connection import Stream
from falak.client.shapes import (
    CapsuleRow,
    Copies,
    Drained,
    EventRow,
    Gathered,
    Launched,
    LogRow,
    NodeInfo,
    NodeRow,
    OrbitRow,
    RolledBack,
    Stage,
    Story,
    Withdrawn,
)

ANSWER_S: Final = 15.0
"""What a node knows by itself, or gathers from others with a deadline of its own, is told within this."""
DRAIN_S: Final = 130.0
"""A drain: copies have the node's grace for what is under way."""
GATHER_S: Final = 1.0
"""How long ``ps`` waits for other nodes, unless it is told otherwise."""
T = TypeVar("T")
LAUNCH_S: Final = 300.0
"""A launch: the component is checked and compiled (minutes for the largest), kept by others, called once."""


class Client:
    """The node whose data folder is ``data``."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def node(self) -> NodeInfo:
        """The node itself, with the ticket that lets others join."""
        return self._ask(NodeInfo, "node")

    def nodes(self) -> list[NodeRow]:
        """All members it knows, itself included."""
        return self._ask(list[NodeRow], "nodes")

    def ps(self, wait_s: float = GATHER_S) -> Copies:
        """Copies running anywhere in the mesh, from the nodes that answer within ``wait_s``."""
        return self._ask(Copies, "ps", deadline_s=wait_s + ANSWER_S, wait_s=wait_s)

    def orbits(self) -> list[OrbitRow]:
        """Orbits with their watchers and capsules."""
        return self._ask(list[OrbitRow], "orbits")

    def capsules(self) -> list[CapsuleRow]:
        """Capsules that orbit."""
        return self._ask(list[CapsuleRow], "capsules")

    def events(
        self, *, after: int = 0, follow: bool = False, capsule: str = "", local: bool = False
    ) -> Stream[EventRow, Gathered]:
        """Visible events of all nodes (``local``: of this one) with a number above ``after``; with ``follow``
        those to come as well, until the stream is closed."""
        arguments = {"after": after, "follow": follow, "capsule": capsule, "local": local}
        return Stream(self.data, "events", arguments, None if follow else ANSWER_S)

    def why(self, capsule: str) -> Story:
        """What the newest waiting request of a capsule set off, from all nodes."""
        return self._ask(Story, "why", capsule=capsule)

    def logs(self, capsule: str, *, after: int = 0, follow: bool = False) -> Stream[LogRow, Gathered]:
        """What the capsule's copies wrote, on all nodes."""
        arguments = {"capsule": capsule, "after": after, "follow": follow}
        return Stream(self.data, "logs", arguments, None if follow else ANSWER_S)

    def launch(
        self, component: Path, fields: Mapping[str, Any], *, call: bool = True
    ) -> Stream[Stage, Launched]:
        """Publish a component with what its manifest says (``Capsule.to_fields``). The stages as they are
        done, then what became of it; with ``call`` it has answered a request by then."""
        arguments = {"path": str(component.absolute()), "record": dict(fields), "call": call}
        return Stream(self.data, "launch", arguments, LAUNCH_S)

    def withdraw(self, name: str) -> Withdrawn:
        """Take a capsule out of its orbit for good, and wait until no node runs it."""
        return self._ask(Withdrawn, "withdraw", deadline_s=LAUNCH_S, name=name)

    def rollback(self, name: str) -> RolledBack:
        """Publish the generation before the newest anew."""
        return self._ask(RolledBack, "rollback", deadline_s=LAUNCH_S, name=name)

    def counters(self) -> dict[str, dict[str, Any]]:
        """Counts since the node's start, by the part that counts: core, mesh, events, gateway."""
        return self._ask(dict[str, dict[str, Any]], "counters")

    def leave(self) -> None:
        """Have the node drain, say goodbye and end. It is told, not waited for."""
        self._ask(dict[str, Any], "leave")

    def drain(self, node: str, *, undo: bool = False) -> Drained:
        """Have a node of the mesh, by name or id, run nothing from now on, and wait until its copies are gone
        (``undo``: have it serve again)."""
        return self._ask(Drained, "drain", deadline_s=DRAIN_S, node=node, undo=undo)

    def _ask(self, shape: type[T], op: str, *, deadline_s: float = ANSWER_S, **arguments: Any) -> T:
        """One answer; ``shape`` says what it is and is not looked at."""
        with Stream[Any, T](self.data, op, arguments, deadline_s) as stream:
            return stream.result
