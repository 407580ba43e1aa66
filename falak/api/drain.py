"""``drain``: have a node of the mesh run nothing, and wait until its copies are gone; or have it serve again.

Owns the finding of the node and the wait. What draining means is the core's (``falak.core.draining``).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import msgspec

from falak.api.desk import Desk, Emit
from falak.api.peers import Wish, ask, told_drain
from falak.core.model import ALIVE
from falak.errors import FAILED, USAGE, OperatorError, PeerError

ASK_S: Final = 3.0
"""Deadline of one word with the node."""
LOOK_S: Final = 0.1
SLACK_S: Final = 5.0
"""A node that drains is waited for this much longer than its copies' grace."""


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``node`` is a name or an id; ``undo``: it is to serve again."""

    node: str
    undo: bool = False


async def drain(desk: Desk, arguments: Arguments, emit: Emit) -> dict[str, Any]:
    """The operation."""
    peer = _find(desk, arguments.node)
    name = desk.node.members.name_of(peer)
    told = await _word(desk, peer, name, not arguments.undo)
    before = told["copies"]
    ends_at = time.monotonic() + desk.node.settings.drain_grace_s + SLACK_S
    while not arguments.undo and told["copies"]:
        if time.monotonic() > ends_at:
            raise OperatorError(
                f"{name} drains, but {told['copies']} of its copies still run",
                f"`falak ps` shows them; `falak drain {name}` waits again",
                FAILED,
            )
        await asyncio.sleep(LOOK_S)
        told = await _word(desk, peer, name, None)
    return {"node": name, "state": told["state"], "copies": before}


def _find(desk: Desk, wanted: str) -> str:
    """The id of the member with this name or id. Raises ``OperatorError`` (exit 2) for none or several."""
    members = desk.node.members
    present = members.present()
    found = [peer for peer in present if wanted in (peer, members.name_of(peer))]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(found)
        raise OperatorError(f"{len(found)} nodes are called {wanted}", f"name one by its id: {ids}", USAGE)
    names = ", ".join(sorted(map(members.name_of, present)))
    raise OperatorError(f"no node of this mesh is called {wanted}", f"there are {names}", USAGE)


async def _word(desk: Desk, peer: str, name: str, on: bool | None) -> dict[str, Any]:
    if peer == desk.node.me.id:
        return told_drain(desk, Wish(drain=on))
    member = desk.node.members.members.get(peer)
    if member is None or not member.linked or member.state != ALIVE:
        raise OperatorError(f"{name} cannot be reached from here", "try again, or ask it itself")
    try:
        answer = await ask(desk, peer, "drain", {} if on is None else {"drain": on}, ASK_S)
        return {"state": str(answer["state"]), "copies": int(answer["copies"])}
    except (PeerError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(f"{name} did not answer: {error}", "try again, or ask it itself") from None
