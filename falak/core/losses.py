"""How many members were dropped of late: self-preservation, and nodes that come and go. Owns those two counts.

Where more than a third of a cell is dropped within ``PRESERVE_S``, it is likelier that the network is at fault, or
this node, than that so many died: until then only requests set elections off. A node that was dropped
``FLAPPING_DROPS`` times within ``FLAPPING_S`` is no candidate for ``FLAPPING_REST_S`` after it is back.
"""

from __future__ import annotations

from typing import Final

from falak.core.settings import SMALL_CELL
from falak.core.turn import Turn

PRESERVE_S: Final = 60.0
"""Drops this long ago count. Larger: longer calm after a large loss. Smaller: slots that must run are back sooner."""
PRESERVE_SHARE: Final = 3
"""More than one in this many members dropped: the cell preserves itself."""
FLAPPING_DROPS: Final = 3
FLAPPING_S: Final = 300.0
FLAPPING_REST_S: Final = 30.0
"""So many drops within so long keep a node from being a candidate for so long. Larger rest: calmer. Smaller: a node
on a bad network is of use sooner."""
FLAPPED: Final = "it was dropped three times in five minutes, and rests for 30 s"
"""Why such a node is no candidate, for people."""
TELLERS: Final = 2
"""Members that must have told this node that it flaps (one in a cell of fewer than four): one alone may lie."""


class Losses:
    """``forget`` keeps it as small as the list of members. Times are the turn's."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._lost: dict[str, float] = {}
        self._drops: dict[str, tuple[float, ...]] = {}
        self._rests: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._preserved = False

    def size(self) -> int:
        """Nodes that something is remembered of."""
        return max(len(self._lost), len(self._drops), len(self._rests), len(self._told))

    def dropped(self, peer: str, present: int) -> None:
        """A member was dropped; ``present`` are left, this node included."""
        now = self._turn.now
        self._lost.pop(peer, None)
        self._lost[peer] = now
        self._drops[peer] = (*self._drops.get(peer, ()), now)[-FLAPPING_DROPS:]
        preserving = self.preserving(present)
        if preserving and not self._preserved:
            self._turn.note("node.preserving", lost=len(self._lost), of=present + len(self._lost))
        self._preserved = preserving

    def returned(self, peer: str) -> None:
        """A member that was dropped is back: it rests, if this was once too often."""
        self._lost.pop(peer, None)
        drops = self._drops.get(peer, ())
        if len(drops) == FLAPPING_DROPS and self._turn.now - drops[0] <= FLAPPING_S:
            self._rests[peer] = self._turn.now + FLAPPING_REST_S

    def forget(self, peer: str) -> None:
        """A node is remembered no more."""
        for kept in (self._lost, self._drops, self._rests, self._told):
            kept.pop(peer, None)

    def preserving(self, present: int) -> bool:
        """Whether more than a third of the cell was dropped of late and is not back."""
        while self._lost and self._turn.now - next(iter(self._lost.values())) > PRESERVE_S:
            del self._lost[next(iter(self._lost))]
        return PRESERVE_SHARE * len(self._lost) > present + len(self._lost)

    def flapping(self, peer: str) -> bool:
        """Whether a member came and went so often that it is no candidate now."""
        return self._turn.now < self._rests.get(peer, 0.0)

    def told(self, peer: str, flapping: bool) -> None:
        """A member's hello says whether this node flaps, as it saw it."""
        self._told.pop(peer, None)
        if flapping:
            self._told[peer] = self._turn.now

    def flaps_itself(self, present: int) -> bool:
        """Whether enough members said so of this node, and its rest is not over."""
        recent = sum(1 for at in self._told.values() if self._turn.now - at < FLAPPING_REST_S)
        return recent >= (TELLERS if present >= SMALL_CELL else 1)
