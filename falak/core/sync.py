"""Anti-entropy: two watchers of an orbit find out which records and tombstones they do not share, and share them.

Owns the rounds under way at this node. It compares digests, never times: what is visible for how long is
``presence``'s, and travels with each record as what is left of it. A round, with a random watcher every ``sync_s``
and with whoever was met again at once:

    Compare (sums over buckets) ->   <- nothing, where they are equal
                                     <- Differs (what stands in the buckets that are not)
    Records (what the other lacks) ->
    RecordsAsked (what we lack) ->   <- Records

Where something differed the two compare again after ``sync_again_s``, at most ``ROUNDS_MAX`` times in a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from falak.core.effects import Persist
from falak.core.inventory import BUCKETS, Entry
from falak.core.keeping import Held
from falak.core.membership import Membership
from falak.core.model import Profile
from falak.core.orbits import Orbits
from falak.core.settings import MESSAGE_MAX_BYTES, Settings
from falak.core.turn import Turn
from falak.core.wire import Compare, Differs, RecordsAsked

ENTRIES_MAX: Final = 2048
"""Entries listed in one answer, whole buckets of them; the rest waits for the next round."""
ASKED_MAX: Final = 1024
"""Records asked for in one message; the rest waits for the next round."""
GIVEN_MAX_BYTES: Final = 2 * MESSAGE_MAX_BYTES
"""Records given in one answer, in messages of half the largest size; the rest waits for the next round."""
MET_EVERY_S: Final = 3600.0
"""That this node had company is written down this often."""
ROUNDS_MAX: Final = 16
"""Rounds in a row with one peer: what it will not take in is not offered for ever."""
ANSWER_EVERY_S: Final = 0.1
"""A peer's next comparison within this is not answered, and counted: it comes again by itself."""


class Sync:
    """The room."""

    def __init__(self, turn: Turn, settings: Settings, members: Membership, orbits: Orbits) -> None:
        self._turn, self._settings, self._members, self._orbits = turn, settings, members, orbits
        self._rounds: dict[str, int] = {}
        self._asked: dict[str, None] = {}
        self._answered: dict[str, float] = {}
        self._met_due = 0.0

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Peers compared with in a row, and peers whose last comparison is remembered."""
        most = self._settings.records_max
        return {"syncs": (len(self._rounds), most), "syncs answered": (len(self._answered), most)}

    # --- first sync --------------------------------------------------------------------------------------

    def first_sync(self, peer: str, profile: Profile, since: float = 0.0) -> None:
        """Hand a joiner the records of its orbits and those it is an elector of, in batches; a member that was
        away only what came ``since`` it was."""
        orbits = self._orbits
        every = (*orbits.records.values(), *orbits.tombstones.values())
        self._hand(
            peer,
            (
                held
                for held in every
                if held.since >= since
                and (held.record.orbit in profile.orbits or peer in orbits.electors_of(held.record.name))
            ),
        )

    def _hand(self, peer: str, batch: Iterable[Held]) -> None:
        """In messages of half the largest size."""
        part: list[Held] = []
        size = 0
        for held in batch:
            if part and size + len(held.signed.data) > MESSAGE_MAX_BYTES // 2:
                self._turn.send(peer, self._orbits.handed(part))
                part, size = [], 0
            part.append(held)
            size += _size_of(held)
        if part:
            self._turn.send(peer, self._orbits.handed(part))

    # --- rounds ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Compare from time to time from now on."""
        self._turn.after(self._settings.sync_s, "sync", "round")

    def due(self, what: str, peer: str) -> None:
        """A timer of this room fired."""
        if what == "round":
            self._turn.after(self._members.jittered(self._settings.sync_s), "sync", "round")
            self._remember_company()
            self.with_somebody()
        elif what == "again":
            self._compare(peer)

    def _remember_company(self) -> None:
        """Write down from time to time that this node had others to ask, for its next start."""
        wall_s, now = self._orbits.presence.wall_s(), self._turn.now
        met = any(self._members.reachable(p) for p in self._members.present() if p != self._turn.me)
        if met and wall_s and now >= self._met_due:
            self._met_due = now + MET_EVERY_S
            self._turn.do(Persist("met", str(int(wall_s)).encode()))

    def with_somebody(self) -> None:
        """Compare with a random watcher of an orbit that is watched here."""
        peers = [peer for peer in self._members.present() if self._shared(peer)]
        if peers and self._members.joined:
            self.with_peer(peers[self._turn.rng.randrange(len(peers))])

    def with_peer(self, peer: str) -> None:
        """Compare with a member, now: it was away, or this node was."""
        self._rounds.pop(peer, None)
        self._compare(peer)

    def met(self, peer: str) -> None:
        """A member is back: the one of the two with the smaller id compares."""
        if self._turn.me < peer:
            self.with_peer(peer)

    def boot_ended(self, peer: str) -> None:
        """Nothing is under way with it any more."""
        self._rounds.pop(peer, None)
        self._asked.pop(peer, None)
        self._answered.pop(peer, None)
        self._turn.timers.cancel(("sync", "again", peer))

    def _shared(self, peer: str) -> tuple[str, ...]:
        profile = self._members.profile_of(peer)
        if peer == self._turn.me or profile is None or not self._members.reachable(peer):
            return ()
        return self._watched_too(profile.orbits)

    def _watched_too(self, orbits: Iterable[str]) -> tuple[str, ...]:
        return tuple(orbit for orbit in sorted(set(orbits)) if orbit in self._orbits.watched)

    def _compare(self, peer: str) -> None:
        orbits = self._shared(peer)
        if orbits:
            self._rounds[peer] = self._rounds.get(peer, 0) + 1
            self._asked[peer] = None
            self._turn.send(peer, Compare(orbits, self._orbits.inventory.sums(orbits)))

    # --- the other side's part ---------------------------------------------------------------------------

    def compared(self, peer: str, message: Compare) -> None:
        """A member compares: list what stands in the buckets that differ."""
        last = self._answered.get(peer)
        if last is not None and self._turn.now - last < ANSWER_EVERY_S:
            self._turn.count("sync_too_often")
            return
        self._answered.pop(peer, None)
        self._answered[peer] = self._turn.now
        if len(self._answered) > self._settings.records_max:
            del self._answered[next(iter(self._answered))]
        orbits = self._watched_too(message.orbits)
        ours = self._orbits.inventory.sums(orbits)
        differing = [at for at in range(BUCKETS) if message.sums[at : at + 1] != ours[at : at + 1]]
        if not differing:
            return
        listed: list[Entry] = []
        buckets: list[int] = []
        for at in differing:
            entries = self._orbits.inventory.entries(orbits, at)
            if listed and len(listed) + len(entries) > ENTRIES_MAX:
                break
            buckets.append(at)
            listed += entries[:ENTRIES_MAX]
        self._turn.send(peer, Differs(orbits, tuple(buckets), tuple(listed)))

    def asked(self, peer: str, message: RecordsAsked) -> None:
        """A member wants records: those that are here."""
        names = [*message.names, *map(self._orbits.name_of, message.digests)][: 2 * ASKED_MAX]
        self._give(peer, names)

    def _give(self, peer: str, names: Iterable[str]) -> None:
        batch: list[Held] = []
        given = 0
        for held in filter(None, map(self._orbits.newest, dict.fromkeys(names))):
            given += _size_of(held)
            if given > GIVEN_MAX_BYTES:
                self._turn.count("sync_cut")
                break
            batch.append(held)
        self._hand(peer, batch)

    # --- this side's part --------------------------------------------------------------------------------

    def differs(self, peer: str, message: Differs) -> None:
        """What the other has where we differ: give what is newer here, ask for what is newer there."""
        rounds = self._rounds.get(peer, 0)
        if peer not in self._asked:
            self._turn.count("sync_unasked")
            return
        del self._asked[peer]
        orbits = self._watched_too(message.orbits)
        theirs = {name: (generation, digest) for name, generation, digest in message.entries}
        ours: dict[str, tuple[int, bytes]] = {}
        for at in sorted(set(message.buckets)):
            if 0 <= at < BUCKETS:
                for name, generation, digest in self._orbits.inventory.entries(orbits, at):
                    ours[name] = (generation, digest)
        newer = [name for name, have in ours.items() if name not in theirs or have > theirs[name]]
        older = [name for name, have in theirs.items() if self._is_older(name, have)]
        self._give(peer, newer)
        if older:
            self._turn.send(peer, RecordsAsked(tuple(older[:ASKED_MAX])))
        if (newer or older) and rounds < ROUNDS_MAX:
            self._turn.after(self._settings.sync_again_s, "sync", "again", peer)

    def _is_older(self, name: str, have: tuple[int, bytes]) -> bool:
        """Whether what is here is older than that (nothing, or an older one), and it may come in."""
        held = self._orbits.newest(name)
        if held is None:
            return not self._orbits.presence.is_over(name, have[1], 0)
        return (held.record.generation, held.digest) < have


def _size_of(held: Held) -> int:
    """What a record takes in a message: its bytes, its publisher and signature, its counter and time."""
    return len(held.signed.data) + 256
