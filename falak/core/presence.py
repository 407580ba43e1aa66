"""How long a record is visible: renewal by its keeper, expiry after its ttl, ``keep = false``, ``not_after``.

Owns counters, the times that follow from them, and this node's idea of wall time. It takes in no record and stores
none: ``Place`` (the room of records) says who may renew what, and is told when a record is over.

A record's first live keeper (of one with ``keep = false``: the node that published it, alone) gossips
(digest, counter) every third of its ttl, all records of one ttl in one go. A counter that is new here starts the
ttl anew, on this node's clock; an old one changes nothing, so a repeated renewal keeps nothing alive. One that is
further ahead than what may have been missed since is refused and counted, and believed when its successor
follows: so a partition that healed does not end what both sides kept alive. Whoever hears from a keeper that is
behind, and keeps the record too, tells it the counter.

A record that is handed on travels with its counter and what is left of its time, so handing on prolongs nothing;
and one that is over is remembered for a ttl, so that a slower node does not bring it back.

Wall time is only in ``not_after``. It is what the driver last told plus monotonic time since: a machine's clock
that is set back and forth moves ``not_after``, and nothing else.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

import msgspec

from falak.core.membership import Membership
from falak.core.model import Record
from falak.core.rendezvous import weight
from falak.core.settings import (
    RENEWAL_JUMP_MAX,
    RENEWALS_IN_TTL,
    STEP_SLOTS_MAX,
    TTL_MAX_S,
    TTL_MIN_S,
    Settings,
)
from falak.core.turn import Turn
from falak.core.wire import RecordsAsked, Renewals, Visible

ENTRIES_MAX: Final = 512
"""Renewals in one message: 13 KiB, where 16 KiB are gossiped at most."""
UNKNOWN_MAX: Final = 64
"""Renewals of one message whose records are not known here and are asked for; the next message has the rest."""
OVER_MAX: Final = 4096
"""Records remembered as over; beyond it the oldest is forgotten (and may come back for what was left of it)."""
LOOK_S: Final = 60.0
"""``not_after`` is looked at again after at most this long (or a tenth of what is left): clocks are set."""
GRACE_S: Final = 15.0
"""After this node stood still it hears what it missed for this long before it lets anything expire."""


class Place(Protocol):
    """The room of records, as this one sees it."""

    def renewer_of(self, name: str) -> str:
        """The node that is to renew a record now, as seen from here."""

    def may_renew(self, peer: str, name: str) -> bool:
        """Whether a member's word on a record counts."""

    def elsewhere(self, name: str) -> list[str]:
        """Electors of the record that do not hear its orbit's gossip."""

    def topic_of(self, name: str) -> str:
        """The topic on which its renewals are gossiped."""

    def name_of(self, digest: bytes) -> str:
        """The name of the record with this digest, "" for none."""

    def end(self, name: str, why: str) -> None:
        """The record is over."""


class _Seen(msgspec.Struct):
    """``counter``: the highest believed (0: none yet). ``heard``: it came from another node. ``jumped``: the
    last one that was refused for being too far ahead, and when."""

    digest: bytes
    ttl_s: int
    not_after_s: int
    counter: int
    renewed_at: float
    expires_at: float
    heard: bool = False
    jumped: int = 0
    jumped_at: float = 0.0


class _Over(msgspec.Struct, frozen=True):
    digest: bytes
    generation: int
    counter: int
    until: float


class Presence:
    """The room."""

    def __init__(self, turn: Turn, settings: Settings, members: Membership, place: Place) -> None:
        self._turn, self._settings, self._members, self._place = turn, settings, members, place
        self._seen: dict[str, _Seen] = {}
        self._cohorts: dict[int, dict[str, None]] = {}
        self._to_renew: dict[int, deque[str]] = {}
        self._batches: dict[str, dict[bytes, int]] = {}
        self._over: dict[str, _Over] = {}
        self._wall: tuple[float, float] | None = None
        self._grace_until = 0.0

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is kept here and its limit, by name."""
        return {"records over": (len(self._over), OVER_MAX)}

    # --- wall time ---------------------------------------------------------------------------------------

    def clock(self, wall_s: float) -> None:
        """The driver's wall clock, now (0: it has none)."""
        if wall_s > 0:
            self._wall = (wall_s, self._turn.now)

    def wall_s(self) -> float:
        """Seconds since 1970; 0 where nobody told."""
        return self._wall[0] + self._turn.now - self._wall[1] if self._wall else 0.0

    def is_past(self, not_after_s: int) -> bool:
        """Whether a ``not_after`` (0: none) has passed."""
        return 0 < not_after_s <= self.wall_s()

    # --- records that come and go ------------------------------------------------------------------------

    def take(self, record: Record, digest: bytes, visible: Visible | None) -> None:
        """A record is visible from now on, for its ttl, or for what was left of it where it was handed on."""
        self.forget(record.name)
        ttl_s = max(TTL_MIN_S, min(TTL_MAX_S, record.ttl_s))
        now = self._turn.now
        left_s = min(float(ttl_s), visible.left_ms / 1000) if visible else float(ttl_s)
        counter = visible.counter if visible else 0
        self._seen[record.name] = _Seen(
            digest, ttl_s, record.not_after_s, counter, now - (ttl_s - left_s), now + left_s
        )
        self._over.pop(record.name, None)
        self._turn.after(left_s, "presence", "expire", record.name)
        if record.not_after_s:
            self._look_at_end(record.name, record.not_after_s)
        if ttl_s not in self._cohorts:
            self._cohorts[ttl_s] = {}
            self._turn.after(self._period_s(ttl_s) * self._phase(ttl_s), "presence", "renew", str(ttl_s))
        self._cohorts[ttl_s][record.name] = None

    def forget(self, name: str) -> None:
        """A record is not visible any more; fine if it was not."""
        seen = self._seen.pop(name, None)
        if seen is None:
            return
        for timer in ("expire", "end"):
            self._turn.timers.cancel(("presence", timer, name))
        cohort = self._cohorts[seen.ttl_s]
        cohort.pop(name, None)
        if not cohort:
            del self._cohorts[seen.ttl_s]
            self._to_renew.pop(seen.ttl_s, None)
            self._turn.timers.cancel(("presence", "renew", str(seen.ttl_s)))

    def over(self, name: str, generation: int) -> None:
        """A record is over: remembered for its ttl."""
        seen = self._seen.get(name)
        if seen is not None:
            until = self._turn.now + seen.ttl_s
            self._over.pop(name, None)
            self._over[name] = _Over(seen.digest, generation, seen.counter, until)
            if len(self._over) > OVER_MAX:
                del self._over[next(iter(self._over))]
        self.forget(name)

    def is_over(self, name: str, digest: bytes, counter: int) -> bool:
        """Whether this very record ended here a while ago, and this counter (0: not known) is not news."""
        over = self._over.get(name)
        if over is None or over.digest != digest or counter > over.counter:
            return False
        return self._turn.now < over.until

    def generation_over(self, name: str) -> int:
        """The generation of the record of this name that ended here, 0 for none."""
        over = self._over.get(name)
        return over.generation if over else 0

    def visible(self, name: str) -> Visible:
        """A record's counter and what is left of its time, to travel with it."""
        seen = self._seen.get(name)
        if seen is None:
            return Visible(0, 0)
        return Visible(seen.counter, max(0, int((seen.expires_at - self._turn.now) * 1000)))

    def told(self, name: str, visible: Visible | None) -> None:
        """A record that is here was handed over once more: a higher counter is taken on, with what is left."""
        seen = self._seen.get(name)
        if visible is None or seen is None or not visible.left_ms or visible.counter <= seen.counter:
            return
        if not seen.counter or visible.counter <= seen.counter + RENEWAL_JUMP_MAX:
            left_s = min(float(seen.ttl_s), visible.left_ms / 1000)
            seen.counter, seen.heard = visible.counter, True
            self._visible_until(name, seen, max(seen.expires_at, self._turn.now + left_s))

    def _visible_until(self, name: str, seen: _Seen, when: float) -> None:
        seen.expires_at = when
        seen.renewed_at = when - seen.ttl_s
        self._turn.after(when - self._turn.now, "presence", "expire", name)

    # --- renewing ----------------------------------------------------------------------------------------

    def _period_s(self, ttl_s: int) -> float:
        return ttl_s / RENEWALS_IN_TTL

    def _phase(self, ttl_s: int) -> float:
        """Half of the first period to all of it, by node: they do not all gossip at once."""
        return 0.5 + weight(f"renew/{ttl_s}", self._turn.me) / 2**65

    def _renew(self, ttl_s: int) -> None:
        """All records of a ttl: those that are this node's to renew."""
        if ttl_s in self._cohorts:
            self._turn.after(self._period_s(ttl_s), "presence", "renew", str(ttl_s))
            self._to_renew.setdefault(ttl_s, deque(self._cohorts[ttl_s]))
            self._renew_on(ttl_s)

    def _renew_on(self, ttl_s: int) -> None:
        """The next of them, ``STEP_SLOTS_MAX`` a step; their renewals are gossiped together."""
        waiting = self._to_renew.get(ttl_s, deque())
        for _ in range(min(STEP_SLOTS_MAX, len(waiting))):
            self._renew_one(waiting.popleft())
        if waiting:
            self._turn.after(0.0, "presence", "renew on", str(ttl_s))
        else:
            self._to_renew.pop(ttl_s, None)
            self._send_batches()

    def _renew_one(self, name: str) -> None:
        seen = self._seen.get(name)
        if seen is None or self._place.renewer_of(name) != self._turn.me:
            return
        seen.counter += 1
        self._visible_until(name, seen, self._turn.now + seen.ttl_s)
        self._batch(self._place.topic_of(name), seen)
        for elector in self._place.elsewhere(name):
            self._batch(elector, seen)

    def _batch(self, receiver: str, seen: _Seen) -> None:
        batch = self._batches.setdefault(receiver, {})
        batch[seen.digest] = seen.counter
        if len(batch) >= ENTRIES_MAX:
            self._send_batch(receiver)

    def _send_batches(self) -> None:
        for receiver in list(self._batches):
            self._send_batch(receiver)

    def _send_batch(self, receiver: str) -> None:
        """To an orbit's topic (they begin with a slash, ids do not), or to one elector."""
        message = Renewals(tuple(self._batches.pop(receiver).items()))
        if receiver.startswith("/"):
            self._turn.gossip(receiver, message)
        else:
            self._turn.send(receiver, message)

    # --- hearing renewals --------------------------------------------------------------------------------

    def renewed(self, peer: str, message: Renewals) -> None:
        """A keeper renewed records, or (``behind``) another one says that ours were behind."""
        unknown: list[bytes] = []
        behind: list[tuple[bytes, int]] = []
        for digest, counter in message.entries[:ENTRIES_MAX]:
            name = self._place.name_of(digest)
            seen = self._seen.get(name)
            if seen is None:
                if not name:  # a tombstone has a name and no time
                    unknown.append(digest)
            elif message.behind:
                self._catch_up(peer, name, seen, counter)
            elif counter < seen.counter:
                self._turn.count("renewal_behind")
                behind.append((digest, seen.counter))
            elif counter > seen.counter:
                self._hear(peer, name, seen, counter)
        if behind:
            self._tell_behind(peer, behind)
        if unknown and not message.behind:
            self._turn.send(peer, RecordsAsked((), tuple(unknown[:UNKNOWN_MAX])))
        self._send_batches()

    def _tell_behind(self, peer: str, behind: list[tuple[bytes, int]]) -> None:
        me = self._turn.me
        ours = [entry for entry in behind if self._place.may_renew(me, self._place.name_of(entry[0]))]
        if ours:
            self._turn.send(peer, Renewals(tuple(ours), True))

    def _hear(self, peer: str, name: str, seen: _Seen, counter: int) -> None:
        if not self._place.may_renew(peer, name):
            self._turn.count("renewal_foreign")
        elif seen.heard and not self._follows(seen, counter):
            self._turn.count("renewal_jumped")
            if counter <= seen.counter + RENEWAL_JUMP_MAX:
                seen.jumped, seen.jumped_at = counter, self._turn.now
        else:
            seen.counter, seen.heard, seen.jumped = counter, True, 0
            self._visible_until(name, seen, self._turn.now + seen.ttl_s)

    def _follows(self, seen: _Seen, counter: int) -> bool:
        """Whether a counter is the next one, counting those that may have been missed since, after the one
        believed or after the one refused last."""
        for last, at in ((seen.counter, seen.renewed_at), (seen.jumped, seen.jumped_at)):
            missed = int((self._turn.now - at) / self._period_s(seen.ttl_s))
            if last and last < counter <= last + 1 + missed:
                return True
        return False

    def _catch_up(self, peer: str, name: str, seen: _Seen, counter: int) -> None:
        """We renewed a record with a counter that others are beyond: take theirs, and renew once more."""
        mine = self._place.renewer_of(name) == self._turn.me
        near = seen.counter < counter <= seen.counter + RENEWAL_JUMP_MAX or not seen.heard
        if mine and near and counter >= seen.counter and self._place.may_renew(peer, name):
            seen.counter, seen.heard = counter, True
            self._renew_one(name)
        elif counter > seen.counter:
            self._turn.count("renewal_jumped")

    # --- timers ------------------------------------------------------------------------------------------

    def woke(self) -> None:
        """This node stood still: what it did not hear may wait for it."""
        self._grace_until = self._turn.now + GRACE_S

    def due(self, what: str, which: str) -> None:
        """A timer of this room fired."""
        if what == "renew":
            self._renew(int(which))
        elif what == "renew on":
            self._renew_on(int(which))
        elif what == "expire":
            self._expire(which)
        elif what == "end" and which in self._seen:
            self._look_at_end(which, self._seen[which].not_after_s)

    def _expire(self, name: str) -> None:
        seen = self._seen.get(name)
        if seen is None:
            return
        if self._turn.now < self._grace_until:
            self._turn.after(self._grace_until - self._turn.now, "presence", "expire", name)
        elif self._place.renewer_of(name) == self._turn.me:
            self._renew_one(name)  # it is ours since a moment, or was handed to us with little time left
            self._send_batches()
        else:
            self._place.end(name, f"it was not renewed for {seen.ttl_s} s")

    def _look_at_end(self, name: str, not_after_s: int) -> None:
        left_s = not_after_s - self.wall_s()
        if self._wall and left_s <= 0:
            self._place.end(name, "its not_after has passed")
        else:
            wait_s = min(left_s, max(LOOK_S, left_s / 10)) if self._wall else LOOK_S
            self._turn.after(max(0.001, wait_s), "presence", "end", name)
