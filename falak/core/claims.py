"""Who runs what: this node's own claims, and the directory it keeps as an elector of others' capsules.

A claim lives as long as its holder's boot: it is never repeated, only delivered to the electors until enough
of them acknowledged it, again when electors change or restart, and ended the same way. It never elects anybody.
Between two claims on one slot the greater stays (``standing``: a total order), and the other's holder is told
until it lets go. A claim of an older generation goes on being known until the newer one on its slot is ready:
its copy serves that long. A claim is taken only from its holder's own link, or from a fellow elector, and only for the
boot that the holder lives in now; an old or repeated one changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from falak.core.membership import Membership
from falak.core.model import Capacity, Claim, clip
from falak.core.orbits import Orbits
from falak.core.quorum import needed
from falak.core.settings import Settings
from falak.core.standing import digest_of, standing
from falak.core.turn import Turn
from falak.core.wire import Claimed, ClaimHeard, ClaimsAsked, ClaimsGiven, Outclaimed, Released

RETRY_MAX_S: Final = 5.0
GIVEN_MAX: Final = 4096
"""Claims in one question or answer; who has more speaks of the first and goes on at the next difference."""
ENDED_MAX: Final = 4096
"""Ended claims remembered of one holder, so that an old word of one does not bring it back; beyond it the
oldest is forgotten (and would be set right by the holder's next heartbeat)."""
LESSER_MAX: Final = 4096
"""Holders of lesser claims that are told again until they let go; more are told once."""

SlotKey = tuple[str, int]
Changed = Callable[[str, Claim | None, str, bool], None]


class _Own(msgspec.Struct):
    claim: Claim
    ended: str | None = None
    capsule_fault: bool = False
    older: Claim | None = None
    acked: set[str] = msgspec.field(default_factory=set)
    sent: dict[str, float] = msgspec.field(default_factory=dict)
    tries: int = 0


def _again(capsule: str, slot: int) -> tuple[str, ...]:
    return ("claims", "again", capsule, str(slot))


class Claims:
    """The room. ``changed(capsule, ended, reason, capsule_fault)`` is called when the directory's view of a
    capsule changed (``ended``: the claim that is over, if that is why); ``outclaimed(claim)`` when a claim of
    ours has to give way."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        members: Membership,
        orbits: Orbits,
        changed: Changed,
        outclaimed: Callable[[Claim], None],
        capacity: Callable[[], Capacity],
    ) -> None:
        self._turn, self._settings, self._members, self._orbits = turn, settings, members, orbits
        self._changed, self._outclaimed, self._capacity = changed, outclaimed, capacity
        self._own: dict[SlotKey, _Own] = {}
        self._directory: dict[str, dict[int, Claim]] = {}
        self._size = 0
        self._ended: dict[str, dict[SlotKey, int]] = {}
        self._lesser: dict[tuple[str, str, int], int] = {}
        self._outgoing: dict[SlotKey, Claim] = {}
        self._asking: dict[str, bytes] = {}
        self._answered: dict[str, bytes] = {}
        self._summary: tuple[int, bytes] | None = None
        self._sequence = 0

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is kept here and its limit, by name."""
        ended = max(map(len, self._ended.values()), default=0)
        return {
            "claims": (self._size, self._settings.claims_max),
            "claims ended of one holder": (ended, ENDED_MAX),
            "lesser claims": (len(self._lesser), LESSER_MAX),
            "claims outgoing": (len(self._outgoing), self._settings.claims_max),
        }

    # --- the directory -----------------------------------------------------------------------------------

    def live(self, capsule: str) -> list[Claim]:
        """Claims that protect a slot of the capsule's newest generation, by slot, ready or not."""
        generation = self._orbits.generation_of(capsule)
        claims = self._directory.get(capsule, {})
        return [c for _, c in sorted(claims.items()) if c.generation >= generation and self.lives(c)]

    def ready(self, capsule: str) -> tuple[Claim, ...]:
        """Claims that requests may be sent to."""
        return tuple(claim for claim in self.live(capsule) if claim.ready)

    def older(self, capsule: str) -> tuple[Claim, ...]:
        """Claims of older generations whose copies still serve, by slot."""
        record = self._orbits.get(capsule)
        generation = record.generation if record else 0
        slots = sorted({*self._directory.get(capsule, {}), *(s for c, s in self._outgoing if c == capsule)})
        known = [self._outgoing.get((capsule, slot)) or self._known(capsule, slot) for slot in slots]
        return tuple(c for c in known if c and c.ready and c.generation < generation and self.lives(c))

    def at_slot(self, capsule: str, slot: int) -> Claim | None:
        """The live claim on a slot."""
        return next((claim for claim in self.live(capsule) if claim.slot == slot), None)

    def lives(self, claim: Claim) -> bool:
        """Whether the claim's holder is not suspect and lives in the boot that claimed."""
        return self._members.usable(claim.holder) and self._members.boot_of(claim.holder) == claim.boot

    def all(self) -> list[Claim]:
        """Everything in the directory here, by capsule and slot."""
        return [claim for _, slots in sorted(self._directory.items()) for _, claim in sorted(slots.items())]

    def _known(self, capsule: str, slot: int) -> Claim | None:
        return self._directory.get(capsule, {}).get(slot)

    def member_changed(self, peer: str, reason: str) -> None:
        """A holder became suspect (its claims protect nothing any more) or came back (``reason`` is empty)."""
        for capsule in sorted({claim.capsule for claim in self.all() if claim.holder == peer}):
            self._changed(capsule, None, reason, False)

    def learn(self, claim: Claim) -> bool:
        """Take in a claim whose holder lives in that boot. Returns whether it stands in the directory now."""
        if self._members.boot_of(claim.holder) != claim.boot:
            self._turn.count("claim_other_boot")
            return False
        known = self._known(claim.capsule, claim.slot)
        ended = self._ended.get(claim.holder, {}).get((claim.capsule, claim.slot), 0)
        same = known is not None and known.holder == claim.holder and known.boot == claim.boot
        if claim.sequence <= ended or (known and same and claim.sequence <= known.sequence):
            self._turn.count("claim_repeated")
            return known == claim
        return self._settle(claim, known)

    def _settle(self, claim: Claim, known: Claim | None) -> bool:
        if known is None and self._size >= self._settings.claims_max:
            self._turn.count("claims_full")
            return False
        rival = known if known and known.holder != claim.holder and self.lives(known) else None
        if rival and standing(rival) > standing(claim):
            self._tell_lesser(claim, rival)
            return False
        self._directory.setdefault(claim.capsule, {})[claim.slot] = claim
        self._size += known is None
        if known and known.generation < claim.generation and known.ready and not claim.ready:
            self._outgoing[(claim.capsule, claim.slot)] = known
        elif rival:
            self._tell_lesser(rival, claim)
        if claim.ready:
            older = self._outgoing.pop((claim.capsule, claim.slot), None)
            if older and older.holder != claim.holder:
                self._tell_lesser(older, claim)
        self._changed(claim.capsule, None, "", False)
        return True

    def _tell_lesser(self, lesser: Claim, greater: Claim) -> None:
        self._turn.count("claims_settled")
        if lesser.holder == self._turn.me:
            self._give_way(lesser, greater)
            return
        self._turn.send(lesser.holder, Outclaimed(greater))
        key = (lesser.holder, lesser.capsule, lesser.slot)
        if key in self._lesser or len(self._lesser) < LESSER_MAX:
            self._lesser[key] = self._lesser.get(key, -1) + 1
            wait = self._retry_s(self._lesser[key])
            self._turn.after(wait, "claims", "lesser", lesser.capsule, str(lesser.slot), lesser.holder)

    def _tell_again(self, capsule: str, slot: int, holder: str) -> None:
        greater = self._known(capsule, slot)
        tries = self._lesser.get((holder, capsule, slot), 0)
        if greater is None or greater.holder == holder or not self.lives(greater):
            self._lesser.pop((holder, capsule, slot), None)
            return
        self._turn.send(holder, Outclaimed(greater))
        self._lesser[(holder, capsule, slot)] = tries + 1
        self._turn.after(self._retry_s(tries + 1), "claims", "lesser", capsule, str(slot), holder)

    def _let_go(self, holder: str, capsule: str, slot: int) -> None:
        if self._lesser.pop((holder, capsule, slot), None) is not None:
            self._turn.timers.cancel(("claims", "lesser", capsule, str(slot), holder))

    def _retry_s(self, tries: int) -> float:
        return min(RETRY_MAX_S, self._settings.claim_retry_s * 2.0 ** min(tries, 10))

    def outclaimed(self, peer: str, message: Outclaimed) -> None:
        """An elector says that a greater claim stands on a slot of ours."""
        greater = message.claim
        own = self._own.get((greater.capsule, greater.slot))
        if own is None:
            ended = ((greater.capsule, greater.slot),)
            self._turn.send(peer, ClaimsGiven((), ended, self._sequence))  # we let go: it did not hear of it
        elif own.ended is not None:
            self._turn.send(peer, self._word(own))
        elif self._members.boot_of(greater.holder) != greater.boot:
            self._turn.count("claim_other_boot")
        elif greater.holder != self._turn.me and standing(greater) > standing(own.claim):
            self._give_way(own.claim, greater)
        else:
            self._turn.count("outclaimed_by_lesser")

    def _give_way(self, lesser: Claim, greater: Claim) -> None:
        own = self._own.get((lesser.capsule, lesser.slot))
        early = own and own.claim.generation < greater.generation and own.claim.ready and not greater.ready
        if early:
            self._turn.count("outclaimed_early")  # it serves until the newer one does; it is told again
        elif own and own.ended is None:
            self._outclaimed(own.claim)
        if self._known(greater.capsule, greater.slot) != greater:
            self.learn(greater)

    def claimed(self, peer: str, message: Claimed) -> None:
        """A holder tells us of its claim; acknowledged if it was taken in or is known, or over already."""
        claim = message.claim
        if claim.holder != peer:
            self._turn.count("claim_foreign")
            return
        if self._is_outdated(claim):
            self._learn_older(claim)
            return
        stands = self.learn(claim)
        known = self._known(claim.capsule, claim.slot)
        later = known and known.holder == peer and known.boot == claim.boot and known.sequence >= claim.sequence
        if stands or later:
            self._turn.send(peer, ClaimHeard(claim.capsule, claim.slot, claim.sequence))

    def _is_outdated(self, claim: Claim) -> bool:
        """Whether the holder runs an old generation because the newer record has not come to it: it is handed
        over, and the claim is not acknowledged, so that the holder comes again if that is lost."""
        newest = self._orbits.newest(claim.capsule)
        if newest is None or claim.generation >= newest.record.generation:
            return False
        self._turn.count("claim_outdated")
        self._turn.send(claim.holder, self._orbits.handed((newest,)))
        return True

    def _learn_older(self, claim: Claim) -> None:
        """Its copy serves until one of the newest generation does, also for those who ask here."""
        key = (claim.capsule, claim.slot)
        newer = self._known(*key)
        if newer and newer.holder == claim.holder and newer.sequence < claim.sequence:
            self._forget(*key, claim.holder, "its holder speaks of an older copy again")
            newer = self._known(*key)
        ended = self._ended.get(claim.holder, {}).get(key, 0)
        if newer is None or newer.generation <= claim.generation:
            self.learn(claim)
        elif newer.ready and newer.holder != claim.holder and self.lives(newer):
            self._tell_lesser(claim, newer)
        elif not newer.ready and claim.ready and self.lives(claim) and claim.sequence > ended:
            self._outgoing[key] = claim

    def released(self, peer: str, message: Released) -> None:
        """A holder ends its claim."""
        claim = message.claim
        if claim.holder != peer:
            self._turn.count("claim_foreign")
            return
        self._turn.send(peer, ClaimHeard(claim.capsule, claim.slot, claim.sequence))
        key = (claim.capsule, claim.slot)
        known = self._known(*key)
        newer = known and known.holder == peer and known.sequence > claim.sequence
        if self._members.boot_of(peer) != claim.boot or newer:
            self._turn.count("claim_repeated")
            return
        self._let_go(peer, *key)
        self._remember_end(claim)
        older = self._outgoing.get(key)
        if older and (older.holder, older.generation) == (peer, claim.generation):
            del self._outgoing[key]
        self._forget(claim.capsule, claim.slot, peer, message.reason, message.capsule_fault)

    def _remember_end(self, claim: Claim) -> None:
        ended, key = self._ended.setdefault(claim.holder, {}), (claim.capsule, claim.slot)
        ended[key] = max(claim.sequence, ended.pop(key, 0))
        if len(ended) > ENDED_MAX:
            del ended[next(iter(ended))]

    def _forget(self, capsule: str, slot: int, holder: str, reason: str, capsule_fault: bool = False) -> None:
        slots = self._directory.get(capsule, {})
        known = slots.get(slot)
        if known is None or known.holder != holder:
            return
        older = self._outgoing.pop((capsule, slot), None)
        if older and self.lives(older):
            slots[slot] = older  # the newer one came to nothing: this one still serves
        else:
            del slots[slot]
            self._size -= 1
        if not slots:
            del self._directory[capsule]
        self._changed(capsule, known, reason, capsule_fault)

    def boot_ended(self, peer: str, boot: int) -> None:
        """A member's run is over: what it claimed in it is void, and it forgot what it acknowledged."""
        for own in self._own.values():
            own.acked.discard(peer)
            own.sent.pop(peer, None)
        for memory in (self._asking, self._answered):
            memory.pop(peer, None)
        self._ended.pop(peer, None)
        for holder, capsule, slot in [key for key in self._lesser if key[0] == peer]:
            self._let_go(holder, capsule, slot)
        for key in [key for key, claim in self._outgoing.items() if claim.holder == peer]:
            del self._outgoing[key]
        for claim in self.all():
            if claim.holder == peer and claim.boot == boot:
                self._forget(claim.capsule, claim.slot, peer, f"{self._members.name_of(peer)} is gone")

    # --- own claims --------------------------------------------------------------------------------------

    def own(self) -> list[Claim]:
        """Claims this node holds, by capsule and slot."""
        return [own.claim for _, own in sorted(self._own.items()) if own.ended is None]

    def holding(self, capsule: str, slot: int) -> Claim | None:
        """This node's claim on a slot, if it holds it."""
        own = self._own.get((capsule, slot))
        return own.claim if own and own.ended is None else None

    def hold(self, claim: Claim) -> None:
        """Claim a slot this node won. A copy that may be ready in a moment is told of then, once: until then
        the votes that it was elected by protect its slot."""
        own = _Own(replace(claim, sequence=self._next()))
        before = self.holding(claim.capsule, claim.slot)
        if before and before.ready and before.generation < claim.generation:
            own.older = before
        if claim.ready:
            self._deliver(own)
        elif self._enter(own):
            self._turn.after(self._settings.claim_unready_s, *_again(claim.capsule, claim.slot))

    def now_ready(self, capsule: str, slot: int) -> None:
        """The copy behind a claim of ours answers now."""
        own = self._own.get((capsule, slot))
        if own and own.ended is None and not own.claim.ready:
            self._deliver(_Own(replace(own.claim, ready=True, sequence=self._next())))

    def release(
        self, capsule: str, slot: int, reason: str, capsule_fault: bool = False, keep_older: bool = False
    ) -> None:
        """End a claim of ours. ``keep_older``: its copy came to nothing, and that of an older generation, which
        it was to replace, still serves: the claim is that one's again."""
        own = self._own.get((capsule, slot))
        if own and own.ended is None:
            older = own.older
            if not own.sent:
                self._deliver(own)  # the end of what nobody heard of would tell nobody anything
            claim = replace(own.claim, sequence=self._next(), ready=False)
            self._deliver(_Own(claim, clip(reason), capsule_fault))
            self._remember_end(claim)
            self._forget(capsule, slot, self._turn.me, reason, capsule_fault)
            if older and keep_older:
                self._deliver(_Own(replace(older, sequence=self._next())))

    def forget_older(self, capsule: str, slot: int) -> None:
        """The older copy that a claim of ours is to replace is over."""
        own = self._own.get((capsule, slot))
        if own:
            own.older = None

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _deliver(self, own: _Own) -> None:
        if not self._enter(own):
            return
        electors = self._orbits.electors_of(own.claim.capsule)
        for elector in electors:
            self._tell(elector, own)
        self._rest_or_retry((own.claim.capsule, own.claim.slot), own, electors)

    def _enter(self, own: _Own) -> bool:
        """Hold it here, and know it as an elector does. False: a greater claim stands, this one is over."""
        key = (own.claim.capsule, own.claim.slot)
        self._own[key], self._summary = own, None
        elector = self._turn.me in self._orbits.electors_of(own.claim.capsule)
        if own.ended is None and elector and self._known(*key) != own.claim:
            self.learn(own.claim)
            if self._own.get(key) is not own:
                return False
        own.acked.add(self._turn.me)
        return True

    def _tell(self, elector: str, own: _Own) -> None:
        """Once at a time, and not without a link: it is told when there is one (``met``)."""
        now = self._turn.now
        if elector not in own.acked and own.sent.get(elector) != now and self._members.reachable(elector):
            own.sent[elector] = now
            self._turn.send(elector, self._word(own))

    def _word(self, own: _Own) -> Claimed | Released:
        if own.ended is None:
            return Claimed(own.claim, self._capacity())
        return Released(own.claim, own.ended, own.capsule_fault)

    def _rest_or_retry(self, key: SlotKey, own: _Own, electors: tuple[str, ...]) -> None:
        if self._own.get(key) is not own:
            return
        timer = _again(*key)
        if len(own.acked.intersection(electors)) >= needed(len(electors)):
            if own.ended is not None:
                del self._own[key]
            self._turn.timers.cancel(timer)
        else:
            self._turn.after(self._retry_s(own.tries), *timer)

    def heard(self, peer: str, message: ClaimHeard) -> None:
        """An elector acknowledged a word of ours."""
        key = (message.capsule, message.slot)
        own = self._own.get(key)
        if own and own.claim.sequence == message.sequence:
            own.acked.add(peer)
            self._rest_or_retry(key, own, self._orbits.electors_of(message.capsule))

    def due(self, what: str, capsule: str, slot: str, holder: str = "") -> None:
        """A timer of this room fired: not enough electors acknowledged a word of ours, or a holder that was
        told of a greater claim did not let go."""
        if what == "lesser":
            self._tell_again(capsule, int(slot), holder)
            return
        own = self._own.get((capsule, int(slot)))
        if own:
            own.tries += 1
            self._deliver(own)

    def members_changed(self) -> None:
        """Electors moved: those that are new for a claim of ours are told, and holders are asked anew for what
        is ours to know now."""
        self._answered.clear()
        for _, own in sorted(self._own.items()):
            own.tries = 0
            self._deliver(own)

    def met(self, peer: str) -> None:
        """A link with a member is new: it is told what it has not acknowledged."""
        for _, own in sorted(self._own.items()):
            if peer in self._orbits.electors_of(own.claim.capsule):
                self._tell(peer, own)

    # --- repair ------------------------------------------------------------------------------------------

    def summary(self) -> tuple[int, bytes]:
        """Number and digest of our claims, for the heartbeat."""
        if self._summary is None:
            own = self.own()
            self._summary = (len(own), digest_of(own))
        return self._summary

    def compare(self, peer: str, count: int, digest: bytes) -> None:
        """A heartbeat told us a holder's digest: where ours differs, ask it, until it has answered for this
        digest. (In a larger cell ours differs always, for we are not the elector of everything it runs.)"""
        if digest == self._answered.get(peer):
            return
        known = [claim for claim in self.all() if claim.holder == peer]
        if len(known) != count or digest_of(known) != digest:
            self._asking[peer] = digest
            self._turn.count("claims_asked")
            self._turn.send(peer, ClaimsAsked(tuple((c.capsule, c.slot) for c in known[:GIVEN_MAX])))

    def asked(self, peer: str, message: ClaimsAsked) -> None:
        """A member wants our claims that it is an elector of, and to know which of those it names are over."""
        named = set(message.known)
        own = self.own()
        held = {(claim.capsule, claim.slot) for claim in own}
        claims = [
            claim
            for claim in own
            if (claim.capsule, claim.slot) in named or peer in self._orbits.electors_of(claim.capsule)
        ]
        ended = tuple(key for key in message.known if key not in held)
        self._turn.send(peer, ClaimsGiven(tuple(claims[:GIVEN_MAX]), ended, self._sequence))

    def given(self, peer: str, message: ClaimsGiven) -> None:
        """A holder's own word of its claims; a later one that we heard already stands."""
        if peer in self._asking:
            self._answered[peer] = self._asking.pop(peer)
        for claim in message.claims:
            if claim.holder == peer and self._is_outdated(claim):
                self._learn_older(claim)
            elif claim.holder == peer:
                self.learn(claim)
        for capsule, slot in message.ended:
            self._let_go(peer, capsule, slot)
            known = self._known(capsule, slot)
            if known and known.holder == peer and known.sequence <= message.sequence:
                self._forget(capsule, slot, peer, "its holder does not claim it any more")
