"""Operations over the whole mesh: ask every member at once, put together what came in time, say who is missing.

Owns the gathering and its cursors. A member that is suspect, not linked or late is missing; a listing is then
partial and says so. Nothing is cached.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from falak.api.desk import Desk, Emit
from falak.api.peers import Wish, ask, told_events, told_logs, told_ps
from falak.errors import PeerError

ASK_S: Final = 1.0
"""Deadline for every member's part. Larger: slow members are in. Smaller: listings are quick."""
WAIT_MAX_S: Final = 10.0
FOLLOW_S: Final = 0.25
"""Between two rounds of a listing that is followed."""
_TOLD: Final = {"ps": told_ps, "events": told_events, "logs": told_logs}
ENDED: Final = {"partial": False, "missing": [], "ended": True}
"""The end of a listing that was followed until this node ended."""

Item = dict[str, Any]


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``ps``."""

    wait_s: float = ASK_S


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``events``."""

    after: int = 0
    follow: bool = False
    capsule: str = ""
    local: bool = False


class Lines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``logs``."""

    capsule: str
    after: int = 0
    follow: bool = False


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of what is about one capsule."""

    capsule: str


class Cursor(msgspec.Struct):
    """How far a member's items were read: numbers count from 1 in every run."""

    boot: int = 0
    number: int = 0


class Gathering:
    """One listing over the mesh, once or in rounds. ``missing`` are the names of the last round's missing."""

    def __init__(self, desk: Desk, op: str, wish: Wish, local: bool = False) -> None:
        self._desk, self._op, self._wish, self._local = desk, op, wish, local
        self._cursors: dict[str, Cursor] = {}
        self.missing: list[str] = []

    async def round(self, deadline_s: float = ASK_S) -> list[Item]:
        """What is new everywhere, in no order."""
        me = self._desk.node.me.id
        items = self._news(me, _TOLD[self._op](self._desk, self._wish_of(me)))
        members = self._desk.node.members
        peers = [] if self._local else [peer for peer in members.present() if peer != me]
        parts = await asyncio.gather(*(self._part(peer, deadline_s) for peer in peers))
        self.missing = sorted(members.name_of(p) for p, part in zip(peers, parts, strict=True) if part is None)
        return items + [item for part in parts for item in part or ()]

    def _wish_of(self, peer: str) -> Wish:
        cursor = self._cursors.get(peer)
        return msgspec.structs.replace(self._wish, after=cursor.number) if cursor else self._wish

    async def _part(self, peer: str, deadline_s: float) -> list[Item] | None:
        member = self._desk.node.members.members.get(peer)
        if member is None or not member.linked or not self._desk.node.members.usable(peer):
            return None
        wish = self._wish_of(peer)
        try:
            return self._news(
                peer, await ask(self._desk, peer, self._op, msgspec.to_builtins(wish), deadline_s)
            )
        except (PeerError, ValueError, KeyError, TypeError):
            return None

    def _news(self, peer: str, answer: dict[str, Any]) -> list[Item]:
        items: list[Item] = answer["items"]
        boot = answer.get("boot", 0)
        cursor = self._cursors.setdefault(peer, Cursor(boot, self._wish.after))
        if cursor.boot != boot:  # it restarted: its numbers begin anew, the next round asks for all of them
            self._cursors[peer] = Cursor(boot)
            return []
        if items and "n" in items[-1]:
            cursor.number = max(cursor.number, int(items[-1]["n"]))
        return items

    async def stream(self, emit: Emit, follow: bool) -> dict[str, Any]:
        """Emit what there is, by time, then (to follow) what comes, until the client goes."""
        while True:
            for item in sorted(await self.round(), key=_by_time):
                await emit(item)
            if not follow:
                return self.outcome()
            await asyncio.sleep(FOLLOW_S)

    def outcome(self) -> dict[str, Any]:
        """Whether the listing is whole."""
        return {"partial": bool(self.missing), "missing": self.missing}


def _by_time(item: Item) -> tuple[float, str, int]:
    return (item["at"], item["node"], item["n"])


async def ps(desk: Desk, arguments: Arguments, emit: Emit) -> dict[str, Any]:
    """Copies in the whole mesh."""
    gathering = Gathering(desk, "ps", Wish())
    rows = await gathering.round(min(WAIT_MAX_S, max(0.05, arguments.wait_s)))
    rows.sort(key=lambda row: (row["capsule"], row["slot"], row["node"]))
    return {"rows": rows, **gathering.outcome()}


async def events(desk: Desk, arguments: Listing, emit: Emit) -> dict[str, Any]:
    """Visible events, of the whole mesh or of this node."""
    wish = Wish(arguments.capsule, arguments.after)
    return await Gathering(desk, "events", wish, arguments.local).stream(emit, arguments.follow)


async def logs(desk: Desk, arguments: Lines, emit: Emit) -> dict[str, Any]:
    """What a capsule's copies wrote."""
    wish = Wish(arguments.capsule, arguments.after)
    return await Gathering(desk, "logs", wish).stream(emit, arguments.follow)


async def why(desk: Desk, arguments: Named, emit: Emit) -> dict[str, Any]:
    """The newest story of a capsule: of the causes that led to an election (of all, where none did), the one
    whose first event is the newest, with all its events. A request at a node that did not know where the copy
    runs has a cause, too, but only asks the directory."""
    gathering = Gathering(desk, "events", Wish(arguments.capsule))
    told = sorted(await gathering.round(), key=_by_time)
    began: dict[str, float] = {}
    elected: set[str] = set()
    for item in told:
        if item["cause"]:
            began.setdefault(item["cause"], item["at"])
            elected |= {item["cause"]} if item["event"].startswith("election.") else set()
    cause = max(elected or began, key=lambda name: began[name], default="")
    story = [item for item in told if cause and item["cause"] == cause]
    return {"capsule": arguments.capsule, "cause": cause, "events": story, "missing": gathering.missing}
