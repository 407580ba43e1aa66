"""How much momentum a capsule has: one more copy where all are full, a newer one where an older one serves, the
least that must run.

Owns calls that no request waits for. It elects nobody: an elector that it asks convenes as it does for any call.

- *Crowded*: this gateway's endpoints all have ``scale.concurrency`` requests: the first elector is asked for one
  more than there are. Whatever it answers ends that; while it stays crowded, native tells again.
- *Newer*: requests go from here to a copy of an older generation, or this node runs it: an elector is asked for
  one of the newer, again and again (backing off), while the older one serves. When one answers, the older drain.
- *Least*: slots below ``scale.min`` are seen to by the capsule's first live elector: after a drop, after a copy's
  end, when a record comes. At most ``herd_per_s`` a node, capsules that most callers wait for first, and none
  while membership preserves itself. A slot that was called for is looked at again with back-off, so that a
  capsule that cannot start does not keep the mesh busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from falak.core.calls import Calls
from falak.core.claims import Claims
from falak.core.convening import Convening
from falak.core.events import Crowded
from falak.core.membership import Membership
from falak.core.model import Capacity, slots_max
from falak.core.orbits import Orbits
from falak.core.settings import STEP_SLOTS_MAX, Settings
from falak.core.turn import Turn
from falak.core.wire import Call, Holders, Refused, Unknown

WANTS_MAX: Final = 1024
"""Capsules that this node asks for more or newer copies of at once; one more waits until it is told of again."""
CROWDED_TRIES: Final = 4
"""Electors asked for one more copy before it is left to the next word of a crowd."""
BACKOFF_MAX: Final = 5
"""A wait is doubled this often at most."""


class _Want(msgspec.Struct):
    """``generation``: a copy of at least that one (0: any); ``copies``: more than so many."""

    cause: str
    generation: int = 0
    copies: int = 0
    tries: int = 0


class Scaling:
    """The room. ``replaced(capsule, generation)``: a copy of that generation answers somewhere."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        members: Membership,
        orbits: Orbits,
        claims: Claims,
        calls: Calls,
        convening: Convening,
        capacity: Callable[[], Capacity],
        replaced: Callable[[str, int], None],
    ) -> None:
        self._turn, self._settings, self._members = turn, settings, members
        self._orbits, self._claims, self._calls, self._convening = orbits, claims, calls, convening
        self._capacity, self._replaced = capacity, replaced
        self._wants: dict[str, _Want] = {}
        self._least: dict[str, int] = {}
        self._missed: dict[str, None] = {}
        self._recheck: deque[str] = deque()
        self._next_at = 0.0

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Copies asked for without a request, capsules that must run, and those of them that wait, with limits."""
        records = self._settings.records_max
        return {
            "copies wanted": (len(self._wants), WANTS_MAX),
            "capsules that must run": (len(self._least), records),
            "slots to fill": (len(self._missed), records),
        }

    # --- one more, and a newer one -----------------------------------------------------------------------

    def crowded(self, event: Crowded) -> None:
        """All endpoints of a capsule have as many requests as they should."""
        name, record = event.capsule, self._orbits.get(event.capsule)
        copies = self._calls.endpoints(name)
        if record is None or not 0 < copies < slots_max(record) or name in self._wants:
            return
        self._want(name, _Want(self._turn.cause(), copies=copies), f"all {copies} have enough to do")

    def newer(self, name: str, generation: int) -> None:
        """An older copy answers requests of this node, or runs here."""
        self._want(
            name, _Want(self._turn.cause(), generation), f"an older one than generation {generation} serves"
        )

    def _want(self, name: str, want: _Want, reason: str) -> None:
        if name not in self._wants and len(self._wants) >= WANTS_MAX:
            self._turn.count("wants_full")
            return
        self._wants[name] = want
        self._turn.note("election.wanted", want.cause, capsule=name, reason=reason)
        self._ask(name, want)

    def _ask(self, name: str, want: _Want) -> None:
        wait = self._settings.scale_ask_s * 2.0 ** min(want.tries, BACKOFF_MAX)
        self._turn.after(wait, "scale", "want", name)
        electors = [e for e in self._orbits.electors_of(name) if self._members.reachable(e)]
        if electors and self._members.joined:
            elector = electors[want.tries % len(electors)]
            self._turn.send(elector, self._call(name, want))
        want.tries += 1

    def _call(self, name: str, want: _Want) -> Call:
        return Call(name, want.cause, self._capacity(), want.generation, want.copies)

    def _wanted(self, name: str, cause: str) -> _Want | None:
        want = self._wants.get(name)
        return want if want and want.cause == cause else None

    def holders(self, message: Holders) -> None:
        """An elector names who holds the capsule; for a newer one only a newer one will do."""
        want = self._wanted(message.capsule, message.cause)
        if want is None:
            return
        if not want.generation:
            self._end(message.capsule)
        elif any(c.ready and c.generation >= want.generation for c in message.claims):
            self._end(message.capsule)
            self._replaced(message.capsule, want.generation)

    def refused(self, message: Refused) -> None:
        """None more, or none newer, can start now. It is asked again in its time."""
        want = self._wanted(message.capsule, message.cause)
        if want and want.generation:
            self._turn.note(
                "capsule.not_replaced",
                want.cause,
                capsule=message.capsule,
                generation=want.generation,
                reason=message.reason,
            )

    def unknown(self, peer: str, message: Unknown) -> None:
        """The elector has no such record: it gets ours, and is asked again."""
        want, held = self._wanted(message.capsule, message.cause), self._orbits.records.get(message.capsule)
        if want and held and want.tries <= CROWDED_TRIES:
            want.tries += 1
            self._turn.send(peer, self._orbits.handed((held,)))
            self._turn.send(peer, self._call(message.capsule, want))

    def _end(self, name: str) -> None:
        if self._wants.pop(name, None):
            self._turn.timers.cancel(("scale", "want", name))

    def _again(self, name: str) -> None:
        want, record = self._wants.get(name), self._orbits.get(name)
        if want is None:
            return
        needed = (
            self._calls.uses_older(name, want.generation) if want.generation else want.tries < CROWDED_TRIES
        )
        if record is None or record.generation < want.generation or not needed:
            self._end(name)
        else:
            self._ask(name, want)

    # --- the least that must run -------------------------------------------------------------------------

    def record_changed(self, name: str, generation: int) -> None:
        """A record came: whoever uses an older copy asks for the newer, whoever sees to its slots does so once
        the others have the record too."""
        if self._calls.uses_older(name, generation):
            self.newer(name, generation)
        record = self._orbits.get(name)
        if record is not None and record.scale.min:
            self._least.setdefault(name, 0)
            self._turn.after(self._settings.scale_first_s, "scale", "see", name)

    def record_gone(self, name: str) -> None:
        """Nothing of it is wanted any more."""
        self._end(name)
        self._forget(name)

    def directory_changed(self, name: str) -> None:
        """Claims of a capsule came or went."""
        if name in self._least and not self._turn.timers.has(("scale", "see", name)):
            self._see(name)

    def members_changed(self) -> None:
        """Electors moved, or this node has joined: look at every capsule that must run, ``STEP_SLOTS_MAX`` a
        step."""
        self._recheck = deque(self._least)
        if self._recheck:
            self._turn.after(0.0, "scale", "recheck")

    def due(self, what: str, name: str = "") -> None:
        """A timer of this room fired."""
        if what == "want":
            self._again(name)
        elif what == "see":
            self._see(name, rested=True)
        elif what == "herd":
            self._fill()
        else:
            for _ in range(min(STEP_SLOTS_MAX, len(self._recheck))):
                self.directory_changed(self._recheck.popleft())
            if self._recheck:
                self._turn.after(0.0, "scale", "recheck")

    def _see(self, name: str, rested: bool = False) -> None:
        """Fill what is missing, if that is ours to do. ``rested``: its back-off is over."""
        record = self._orbits.get(name)
        if record is None or not record.scale.min:
            self._forget(name)
            return
        empty = self._empty(name) if self._is_ours(name) else []
        if not empty:
            self._missed.pop(name, None)
            if rested:
                self._least[name] = 0
        elif not self._missing(name):
            self._turn.after(self._settings.scale_see_s, "scale", "see", name)  # called for, not decided yet
        elif self._members.preserving():
            self._turn.count("slots_left_alone")
            self._turn.after(self._settings.scale_see_s, "scale", "see", name)
        else:
            self._missed[name] = None
            self._fill()

    def _is_ours(self, name: str) -> bool:
        if not self._members.joined:
            return False
        electors = self._orbits.electors_of(name)
        return next((e for e in electors if self._members.usable(e)), "") == self._turn.me

    def _empty(self, name: str) -> list[int]:
        """Slots that must be held and are not."""
        record = self._orbits.get(name)
        if record is None:
            return []
        held = {claim.slot for claim in self._claims.live(name)}
        return [slot for slot in range(min(record.scale.min, slots_max(record))) if slot not in held]

    def _missing(self, name: str) -> list[int]:
        """Those of them that no election is under way for here."""
        return [slot for slot in self._empty(name) if not self._convening.fills((name, slot))]

    def _fill(self) -> None:
        """Call for missing slots, as fast as is allowed."""
        while self._missed:
            if self._turn.now < self._next_at:
                self._turn.timers.set(("scale", "herd"), self._next_at)
                return
            name = max(self._missed, key=self._convening.callers.waiting)
            missing = self._missing(name)
            if len(missing) <= 1:
                del self._missed[name]
            if missing:
                self._next_at = self._turn.now + 1 / self._settings.herd_per_s
                self._call_for(name, missing[0])

    def _call_for(self, name: str, slot: int) -> None:
        tries = self._least.get(name, 0)
        self._least[name] = min(tries + 1, BACKOFF_MAX)
        self._turn.after(self._settings.scale_see_s * 2.0**tries, "scale", "see", name)
        cause = self._turn.cause()
        self._turn.note("election.wanted", cause, capsule=name, reason=f"slot {slot} must run")
        self._convening.fill(name, slot, cause)

    def _forget(self, name: str) -> None:
        self._missed.pop(name, None)
        if self._least.pop(name, None) is not None:
            self._turn.timers.cancel(("scale", "see", name))
