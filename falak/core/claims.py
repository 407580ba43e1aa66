"""Who runs what: this node's own claims, and the directory it keeps as an elector of others' capsules.

A claim lives as long as its holder's boot: it is never repeated, only delivered to the electors until enough
of them acknowledged it, again when electors change, and ended the same way. It never elects anybody. Between
two claims on one slot the greater stays (``standing``: a total order), and the other's holder is told until
it lets go. A claim is taken only from its holder's own link, or from a fellow elector, and only for the boot
that the holder lives in now; an old or repeated one changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from falak.core.membership import Membership
from falak.core.model import Capacity, Claim
from falak.core.orbits import Orbits
from falak.core.quorum import needed
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.core.wire import Claimed, ClaimHeard, ClaimsAsked, ClaimsGiven, Outclaimed, Released

RETRY_MAX_S = 5.0
GIVEN_MAX = 4096
"""Claims in one answer; who has more gives the first and is asked again at the next difference."""

SlotKey = tuple[str, int]


def standing(claim: Claim) -> tuple[int, int, int, str, int, int]:
    """The order between claims on one slot: newer generation, then epoch, gravity and holder; between two
    words of one holder the later sequence. Uses only what every claim carries, so it is total."""
    return (claim.generation, claim.epoch, claim.gravity, claim.holder, claim.boot, claim.sequence)


def digest_of(claims: Iterable[Claim]) -> bytes:
    """16 bytes over a set of claims, in any order: the exclusive or of their hashes."""
    folded = 0
    for claim in claims:
        folded ^= int.from_bytes(blake2b(msgspec.msgpack.encode(claim), digest_size=16).digest())
    return folded.to_bytes(16)


@dataclass(slots=True)
class _Own:
    claim: Claim
    ended: str | None = None
    capsule_fault: bool = False
    acked: set[str] = field(default_factory=set)
    tries: int = 0


class Claims:
    """The room. ``changed(capsule, reason, capsule_fault)`` is called when the directory's view of a capsule
    changed; ``outclaimed(claim)`` when a claim of ours has to give way."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        members: Membership,
        orbits: Orbits,
        changed: Callable[[str, str, bool], None],
        outclaimed: Callable[[Claim], None],
        capacity: Callable[[], Capacity],
    ) -> None:
        self._turn, self._settings, self._members, self._orbits = turn, settings, members, orbits
        self._changed, self._outclaimed, self._capacity = changed, outclaimed, capacity
        self._own: dict[SlotKey, _Own] = {}
        self._directory: dict[str, dict[int, Claim]] = {}
        self._size = 0
        self._latest: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._asked: dict[str, bytes] = {}
        self._sequence = 0

    # --- the directory -----------------------------------------------------------------------------------

    def live(self, capsule: str) -> list[Claim]:
        """Claims that protect a slot of the capsule's newest generation, by slot, ready or not."""
        record = self._orbits.get(capsule)
        generation = record.generation if record else 0
        claims = self._directory.get(capsule, {})
        return [c for _, c in sorted(claims.items()) if c.generation >= generation and self._lives(c)]

    def ready(self, capsule: str) -> tuple[Claim, ...]:
        """Claims that requests may be sent to."""
        return tuple(claim for claim in self.live(capsule) if claim.ready)

    def at_slot(self, capsule: str, slot: int) -> Claim | None:
        """The live claim on a slot."""
        return next((claim for claim in self.live(capsule) if claim.slot == slot), None)

    def _lives(self, claim: Claim) -> bool:
        return self._members.usable(claim.holder) and self._members.boot_of(claim.holder) == claim.boot

    def all(self) -> list[Claim]:
        """Everything in the directory here, by capsule and slot."""
        return [claim for _, slots in sorted(self._directory.items()) for _, claim in sorted(slots.items())]

    def member_changed(self, peer: str, reason: str) -> None:
        """A holder became suspect (its claims protect nothing any more) or came back (``reason`` is empty)."""
        for capsule in sorted({claim.capsule for claim in self.all() if claim.holder == peer}):
            self._changed(capsule, reason, False)

    def learn(self, claim: Claim) -> bool:
        """Take in a claim whose holder lives in that boot. Returns whether it is known and stands now."""
        if self._members.boot_of(claim.holder) != claim.boot:
            self._turn.count("claim_other_boot")
            return False
        key = (claim.holder, claim.capsule, claim.slot)
        boot, sequence = self._latest.get(key, (0, 0))
        if boot == claim.boot and claim.sequence <= sequence:
            self._turn.count("claim_repeated")
            return self._directory.get(claim.capsule, {}).get(claim.slot) == claim
        return self._settle(claim, key)

    def _settle(self, claim: Claim, key: tuple[str, str, int]) -> bool:
        slots = self._directory.setdefault(claim.capsule, {})
        known = slots.get(claim.slot)
        if known is None and self._size >= self._settings.claims_max:
            self._turn.count("claims_full")
            return False
        if known and known.holder != claim.holder and self._lives(known) and standing(known) > standing(claim):
            self._tell_lesser(claim, known)  # and again at each of its tries, for it is not acknowledged
            return False
        self._latest[key] = (claim.boot, claim.sequence)
        slots[claim.slot] = claim
        self._size += known is None
        if known and known.holder != claim.holder and self._lives(known):
            self._tell_lesser(known, claim)
        self._changed(claim.capsule, "", False)
        return True

    def _tell_lesser(self, lesser: Claim, greater: Claim) -> None:
        self._turn.count("claims_settled")
        if lesser.holder == self._turn.me:
            self._give_way(lesser, greater)
        else:
            self._turn.send(lesser.holder, Outclaimed(greater))

    def outclaimed(self, message: Outclaimed) -> None:
        """An elector says that a greater claim stands on a slot of ours."""
        own = self._own.get((message.claim.capsule, message.claim.slot))
        if own and own.ended is None and message.claim.holder != self._turn.me:
            if standing(message.claim) > standing(own.claim):
                self._give_way(own.claim, message.claim)
            else:
                self._turn.count("outclaimed_by_lesser")

    def _give_way(self, lesser: Claim, greater: Claim) -> None:
        own = self._own.get((lesser.capsule, lesser.slot))
        if own and own.ended is None:
            self._outclaimed(own.claim)
        if self._directory.get(greater.capsule, {}).get(greater.slot) != greater:
            self.learn(greater)

    def claimed(self, peer: str, message: Claimed) -> None:
        """A holder tells us of its claim; acknowledged if it is ours to keep and was taken in or known."""
        claim = message.claim
        if claim.holder != peer:
            self._turn.count("claim_foreign")
            return
        self.learn(claim)
        boot, sequence = self._latest.get((peer, claim.capsule, claim.slot), (0, 0))
        if boot == claim.boot and sequence >= claim.sequence:
            self._turn.send(peer, ClaimHeard(claim.capsule, claim.slot, claim.sequence))

    def released(self, peer: str, message: Released) -> None:
        """A holder ends its claim."""
        claim = message.claim
        if claim.holder != peer:
            self._turn.count("claim_foreign")
            return
        self._turn.send(peer, ClaimHeard(claim.capsule, claim.slot, claim.sequence))
        key = (peer, claim.capsule, claim.slot)
        boot, sequence = self._latest.get(key, (0, 0))
        if self._members.boot_of(peer) != claim.boot or (boot == claim.boot and sequence >= claim.sequence):
            self._turn.count("claim_repeated")
            return
        self._latest[key] = (claim.boot, claim.sequence)
        self._forget(claim.capsule, claim.slot, peer, message.reason, message.capsule_fault)

    def _forget(self, capsule: str, slot: int, holder: str, reason: str, capsule_fault: bool = False) -> None:
        slots = self._directory.get(capsule, {})
        known = slots.get(slot)
        if known is None or known.holder != holder:
            return
        del slots[slot]
        self._size -= 1
        if not slots:
            del self._directory[capsule]
        self._changed(capsule, reason, capsule_fault)

    def boot_ended(self, peer: str, boot: int) -> None:
        """A member's run is over: what it claimed in it is void."""
        for claim in self.all():
            if claim.holder == peer and claim.boot == boot:
                self._forget(claim.capsule, claim.slot, peer, f"{self._members.name_of(peer)} is gone")
        self._asked.pop(peer, None)
        gone = [key for key, (b, _) in self._latest.items() if key[0] == peer and b == boot]
        for key in gone:
            del self._latest[key]

    # --- own claims --------------------------------------------------------------------------------------

    def own(self) -> list[Claim]:
        """Claims this node holds, by capsule and slot."""
        return [own.claim for _, own in sorted(self._own.items()) if own.ended is None]

    def hold(self, claim: Claim) -> None:
        """Claim a slot this node won."""
        self._deliver(_Own(replace(claim, sequence=self._next())))

    def now_ready(self, capsule: str, slot: int) -> None:
        """The copy behind a claim of ours answers now."""
        own = self._own.get((capsule, slot))
        if own and own.ended is None and not own.claim.ready:
            self._deliver(_Own(replace(own.claim, ready=True, sequence=self._next())))

    def release(self, capsule: str, slot: int, reason: str, capsule_fault: bool = False) -> None:
        """End a claim of ours."""
        own = self._own.get((capsule, slot))
        if own and own.ended is None:
            claim = replace(own.claim, sequence=self._next(), ready=False)
            self._forget(capsule, slot, self._turn.me, reason, capsule_fault)
            self._deliver(_Own(claim, reason, capsule_fault))

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _deliver(self, own: _Own) -> None:
        key = (own.claim.capsule, own.claim.slot)
        self._own[key] = own
        electors = self._orbits.electors_of(own.claim.capsule)
        entered = self._directory.get(key[0], {}).get(key[1]) == own.claim
        if own.ended is None and self._turn.me in electors and not entered:
            self.learn(own.claim)
        own.acked.add(self._turn.me)
        for elector in electors:
            if elector not in own.acked:
                self._turn.send(elector, self._word(own))
        self._rest_or_retry(key, own, electors)

    def _word(self, own: _Own) -> Claimed | Released:
        if own.ended is None:
            return Claimed(own.claim, self._capacity())
        return Released(own.claim, own.ended, own.capsule_fault)

    def _rest_or_retry(self, key: SlotKey, own: _Own, electors: tuple[str, ...]) -> None:
        timer = ("claims", "again", key[0], str(key[1]))
        if len(own.acked.intersection(electors)) >= min(needed(len(electors)), len(electors)):
            if own.ended is not None:
                self._own.pop(key, None)
            self._turn.timers.cancel(timer)
        else:
            wait = min(RETRY_MAX_S, self._settings.claim_retry_s * 2.0 ** min(own.tries, 10))
            self._turn.after(wait, *timer)

    def heard(self, peer: str, message: ClaimHeard) -> None:
        """An elector acknowledged a word of ours."""
        key = (message.capsule, message.slot)
        own = self._own.get(key)
        if own and own.claim.sequence == message.sequence:
            own.acked.add(peer)
            self._rest_or_retry(key, own, self._orbits.electors_of(message.capsule))

    def due(self, capsule: str, slot: str) -> None:
        """Not enough electors acknowledged in time: tell the others again."""
        key = (capsule, int(slot))
        own = self._own.get(key)
        if own:
            own.tries += 1
            self._deliver(own)

    def members_changed(self) -> None:
        """Electors moved: those that are new for a claim of ours are told."""
        for _, own in sorted(self._own.items()):
            own.tries = 0
            self._deliver(own)

    # --- repair ------------------------------------------------------------------------------------------

    def summary(self) -> tuple[int, bytes]:
        """Number and digest of our claims, for the heartbeat."""
        own = self.own()
        return len(own), digest_of(own)

    def compare(self, peer: str, count: int, digest: bytes) -> None:
        """A heartbeat told us a holder's digest: ask it if ours differs, once for each new digest."""
        if digest == self._asked.get(peer):
            return
        known = [claim for claim in self.all() if claim.holder == peer]
        if len(known) != count or digest_of(known) != digest:
            self._asked[peer] = digest
            self._turn.count("claims_asked")
            self._turn.send(peer, ClaimsAsked())

    def asked(self, peer: str, message: ClaimsAsked) -> None:
        """A member wants our claims, or all we know of one capsule."""
        claims = self.live(message.capsule) if message.capsule else self.own()
        if not message.capsule:
            claims = [c for c in claims if peer in self._orbits.electors_of(c.capsule)]
        self._turn.send(peer, ClaimsGiven(tuple(claims[:GIVEN_MAX])))

    def given(self, peer: str, message: ClaimsGiven) -> None:
        """A holder's own claims: what it does not name any more is over."""
        named = {(claim.capsule, claim.slot) for claim in message.claims}
        for claim in message.claims:
            if claim.holder == peer:
                self.learn(claim)
        if len(message.claims) < GIVEN_MAX:
            for claim in self.all():
                if claim.holder == peer and (claim.capsule, claim.slot) not in named:
                    self._forget(claim.capsule, claim.slot, peer, "its holder does not claim it any more")
