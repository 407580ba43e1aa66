"""At-risk: capsules that lost a keeper, their publisher or their last copy with a node, and what is done then.

Owns which nodes were lost since records were last looked at, and the queue of records to be gossiped again. It
stores and fetches nothing: members that become keepers see to that by themselves (``orbits``), once they know the
record. A record is at risk where a lost node kept or published it and fewer than three keepers are left, or ran
its last copy. Its first live keeper says so and gossips it again, at most ``REGOSSIPS_S`` a second. A
preview (``keep = false``) is not: it is to go with its publisher.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from falak.core.keeping import Held
from falak.core.membership import Membership
from falak.core.rendezvous import electors, keepers
from falak.core.settings import KEEPERS
from falak.core.turn import Turn
from falak.core.wire import Announce

REGOSSIPS_S: Final = 20.0
"""Records a second that a node gossips again: 200 capsules of a lost node take its keepers a few seconds."""
COPIES_MAX: Final = 4096
"""Last copies remembered from a node's end until its drop is seen to; more are only at risk by their keepers."""


class Risk:
    """The room."""

    def __init__(self, turn: Turn, members: Membership) -> None:
        self._turn, self._members = turn, members
        self._before: tuple[str, ...] = members.present()
        self._zones: dict[str, str] = {}
        self._lost: dict[str, str] = {}
        self._last_copies: dict[str, str] = {}
        self._before_loss = self._before
        self._queue: deque[str] = deque()

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Last copies remembered, and their limit."""
        return {"last copies": (len(self._last_copies), COPIES_MAX)}

    def copy_ended(self, name: str, holder: str) -> None:
        """A node's end ended the last copy of a capsule."""
        if len(self._last_copies) < COPIES_MAX:
            self._last_copies[name] = holder

    def members_changed(self) -> None:
        """Members came or went: remember who is lost until every record was looked at."""
        now = self._members.present()
        if not self._lost:
            self._before_loss = self._before
        for peer in self._before:
            if peer not in now:
                self._lost[peer] = self._members.name_of(peer)
        for peer in now:
            self._lost.pop(peer, None)
        self._before = now
        self._zones |= self._members.zones()

    def looked_at_all(self) -> None:
        """Every record was looked at since the last change."""
        self._lost = {}
        self._last_copies = {}
        self._zones = {}

    def look(self, held: Held, chosen: tuple[str, ...]) -> None:
        """Whether a record is at risk by what was lost; ``chosen`` are its keepers now."""
        if not self._lost or held.record.withdrawn or not held.record.keep:
            return
        name = held.record.name
        old = keepers(electors(name, self._before_loss), self._zones)
        gone = [peer for peer in old if peer in self._lost]
        publisher = held.signed.publisher
        left = [peer for peer in old if peer not in self._lost]
        copy = self._last_copies.get(name, "")
        if copy in self._lost:
            peer, why = copy, "ran its last copy"
        elif gone and len(left) < KEEPERS:
            peer, why = gone[0], "kept it"
        elif publisher in self._lost and len(left) < KEEPERS:
            peer, why = publisher, "published it"
        else:
            return
        if next(filter(self._members.usable, (*left, *chosen)), "") != self._turn.me:
            return
        reason = f"{self._lost[peer]} {why}"
        self._turn.note("capsule.at_risk", capsule=name, keepers=len(left), reason=reason)
        if not self._queue:
            self._turn.after(0.0, "risk", "regossip")
        self._queue.append(name)

    def next(self) -> str:
        """The next record to be gossiped again ("" for none); the one after it is due in a while."""
        if not self._queue:
            return ""
        name = self._queue.popleft()
        if self._queue:
            self._turn.after(1 / REGOSSIPS_S, "risk", "regossip")
        return name

    def regossip(self, held: Held, topic: str) -> None:
        """Gossip a record again: who is to keep it and does not know it hears of it."""
        if len(self._members.present()) > 1:
            self._turn.note("capsule.regossiped", capsule=held.record.name, generation=held.record.generation)
            self._turn.gossip(topic, Announce(held.signed))
