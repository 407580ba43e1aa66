"""A node that is to run nothing: it takes no copies, those it has drain, and it leaves if it was told to.

Owns whether this node drains. How a copy drains is ``momentum``'s, in which order it ends the ``election``'s:
claim ended and endpoints gone, requests under way finished or their grace over, then stopped.

    serving --Drain on--> draining --Drain off--> serving
    serving, draining --Leave--> leaving --no copy is left--> left: goodbye is said, ``Left``

While it drains and leaves it goes on as elector, keeper and gateway: requests that come in here are answered
from elsewhere, until the goodbye.
"""

from __future__ import annotations

from typing import Final

from falak.core.effects import Left
from falak.core.election import Election
from falak.core.events import Drain
from falak.core.membership import Membership
from falak.core.momentum import Momentum
from falak.core.turn import Turn

SERVING: Final = "serving"
DRAINING: Final = "draining"
LEAVING: Final = "leaving"
LEFT: Final = "left"


class Draining:
    """The room."""

    def __init__(self, turn: Turn, members: Membership, election: Election, momentum: Momentum) -> None:
        self._turn, self._members, self._election, self._momentum = turn, members, election, momentum
        self.state = SERVING

    @property
    def on(self) -> bool:
        """Whether this node refuses new copies."""
        return self.state != SERVING

    def told(self, event: Drain) -> None:
        """An operator has this node drain, or serve again. One that leaves goes on leaving."""
        if self.state in (LEAVING, LEFT) or event.on == self.on:
            return
        self.state = DRAINING if event.on else SERVING
        self._turn.note("node.drain" if event.on else "node.undrain")
        self._say()
        if event.on:
            self._election.end_all("its node drains")

    def leave(self) -> None:
        """This node is to end: ``Left`` comes once its copies are gone."""
        if self.state in (LEAVING, LEFT):
            return
        was, self.state = self.state, LEAVING
        if was == SERVING and self._momentum.copies:
            self._say()
        self._election.end_all("its node leaves")

    def _say(self) -> None:
        """At once, not with the next heartbeat: conveners summon no node that says that it drains."""
        if self._members.joined:
            self._turn.after(0.0, "member", "heartbeat")

    def settle(self) -> None:
        """At the end of every step: say goodbye once nothing runs here."""
        if self.state == LEAVING and not self._momentum.copies:
            self.state = LEFT
            self._members.leave()
            self._turn.do(Left())
