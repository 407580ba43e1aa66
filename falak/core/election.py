"""How a capsule that runs nowhere comes to run on one node: the four parts of an election and how they meet.

A request is parked at some node's gateway. That node *calls* the capsule's first elector (``calls``). The
elector *convenes* (``convening``): it ranks the nodes that could run the capsule by the gravity it estimates
for them and summons the best. Each *candidate* (``candidacy``) weighs itself, waits by its rank, proposes
itself to the five electors and starts the copy meanwhile. Electors *vote* (``voting``): three acks win. The
winner claims the slot, and when its copy answers, the callers are told where it is.

Calls that no request waits for are ``scaling``'s.

This room owns the ranking and the joints: what a copy's start or failure means for claim, candidacy and
gateway. It keeps no state of its own besides its parts.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from falak.core.artifacts import NOTHING, PREPARED, Artifacts
from falak.core.ballot import Ranking
from falak.core.calls import Calls
from falak.core.candidacy import Candidates
from falak.core.claims import Claims
from falak.core.convening import Convening
from falak.core.delays import Delays
from falak.core.gravity import View, Weights, refusal, weigh
from falak.core.losses import FLAPPED
from falak.core.membership import Membership
from falak.core.model import Claim, Profile, Record
from falak.core.momentum import START, Copy, Momentum
from falak.core.orbits import Orbits
from falak.core.rendezvous import weight
from falak.core.scaling import Scaling
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.core.voting import Voting
from falak.core.wire import Holders, Refused, Unknown

BEST_SHARE = 0.1
"""In a large cell candidates are drawn, by two random choices each, among this share of the best ..."""
BEST_MIN = 8
"""... but at least this many: all conveners read the same heartbeats and would pick the same few."""


class Election:
    """The room: ``calls``, ``convening``, ``candidates``, ``voting`` and what joins them."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        weights: Weights,
        members: Membership,
        orbits: Orbits,
        claims: Claims,
        momentum: Momentum,
        artifacts: Artifacts,
        describe: Callable[[], Profile],
    ) -> None:
        self._turn, self._settings, self._weights = turn, settings, weights
        self._members, self._orbits, self._claims = members, orbits, claims
        self._momentum, self._artifacts, self._describe = momentum, artifacts, describe
        delays = Delays()
        self.calls = Calls(turn, settings, delays, members, orbits, momentum, lambda: describe().capacity)
        self.voting = Voting(turn, settings, members, orbits, claims)
        self.convening = Convening(turn, settings, delays, members, orbits, claims, self.voting, self.rank)
        self.candidates = Candidates(
            turn, settings, weights, members, orbits, claims, momentum, describe, self.look_at_self
        )
        self.scaling = Scaling(
            turn,
            settings,
            members,
            orbits,
            claims,
            self.calls,
            self.convening,
            lambda: describe().capacity,
            self.replaced,
        )

    # --- ranking -----------------------------------------------------------------------------------------

    def look_at_self(self, record: Record, profile: Profile) -> View:
        """This node as it sees itself for a capsule, from fresh state."""
        levels = [self._artifacts.level(a.digest) for a in record.artifacts]
        ages = [self._artifacts.age_s(a.digest) for a in record.artifacts]
        return View(
            profile=profile,
            artifact=min(levels, default=PREPARED),
            artifact_age_s=max(ages, default=0.0),
            failures=self._momentum.failure_weight(record.name),
            copies=len(self._momentum.copies),
            neighbours=self._momentum.running(),
            starts_left=self._momentum.starts_left(),
        )

    def _estimate(self, record: Record, peer: str, profile: Profile, caller: str) -> View:
        """A node as it is seen from here. Its way to the caller is only known where one of the two is this
        node; else our own way to it has to do."""
        if peer == self._turn.me:
            return replace(self.look_at_self(record, profile), rtt_s=self._members.trips.seconds(caller))
        return View(
            profile=profile,
            rtt_s=0.0 if peer == caller else self._members.trips.seconds(peer),
            artifact=PREPARED if self._orbits.fetches(record, peer, profile.orbits) else NOTHING,
            failures=profile.failures_milli / 1000,
            copies=profile.claims,
        )

    def rank(self, record: Record, caller: str, out: frozenset[str]) -> Ranking:
        """Candidates for a capsule, the strongest by estimated gravity first; ties go by a hash of capsule and
        node, so that equal nodes share. At most ``candidates_all`` in a small cell, else ``candidates_max`` by
        two random choices each among the best tenth, ranked again (docs/decisions/0006)."""
        estimates: list[tuple[int, int, str]] = []
        refusals: dict[str, str] = {}
        for peer in self._members.present():
            profile = self._members.profile_of(peer)
            if peer in out or profile is None:
                continue
            if not self._members.reachable(peer):
                refusals[peer] = "it cannot be reached"
                continue
            if self._members.flapping(peer):
                refusals[peer] = FLAPPED
                continue
            view = self._estimate(record, peer, profile, caller)
            refusals[peer] = refusal(record, view)
            if not refusals[peer]:
                pull = weigh(record, view, self._weights)
                estimates.append((-pull.gravity, weight(record.name, peer), peer))
        estimates.sort()
        if len(self._members.present()) > self._settings.candidates_all:
            estimates = self._draw(estimates[: max(BEST_MIN, round(len(estimates) * BEST_SHARE))])
        candidates = tuple((peer, -lightness) for lightness, _, peer in estimates)
        return Ranking(candidates, {peer: why for peer, why in refusals.items() if why})

    def _draw(self, best: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
        chosen: list[tuple[int, int, str]] = []
        while best and len(chosen) < self._settings.candidates_max:
            pair = [self._turn.rng.randrange(len(best)), self._turn.rng.randrange(len(best))]
            chosen.append(best.pop(min(pair)))
        return sorted(chosen)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is waiting or kept here and its limit, by name."""
        rooms = (self.calls, self.convening, self.candidates, self.voting, self.scaling)
        return {name: size for room in rooms for name, size in room.sizes().items()}

    # --- joints ------------------------------------------------------------------------------------------

    def copy_active(self, copy: Copy) -> None:
        """A copy answers: if it was elected, it serves, and an older one beside it does no longer."""
        if copy.confirmed:
            self.calls.local_changed(copy.name)  # first: who hears of the claim may be here at once
            self._claims.now_ready(copy.name, copy.slot)
            self.replaced(copy.name, copy.record.generation, copy.slot)

    def copy_failed(self, copy: Copy, why: str, capsule_fault: bool) -> None:
        """A copy is over by itself: its claim ends first, then whoever waits is seen to."""
        if copy.confirmed:
            name = self._members.name_of(self._turn.me)
            self._end_claim(copy, f"{name}: {why}", capsule_fault)
            self.calls.local_changed(copy.name)
        else:
            self.candidates.copy_failed(copy, why)

    def _end_claim(self, copy: Copy, why: str, capsule_fault: bool) -> None:
        """That of a copy which is over. The slot's claim may be another copy's: of a newer generation, or again
        the older one's, which this one was to replace and which still serves."""
        held = self._claims.holding(copy.name, copy.slot)
        if held and held.generation > copy.record.generation:
            self._claims.forget_older(copy.name, copy.slot)
            return
        older = any(c.slot == copy.slot for c in self._momentum.serving(copy.name))
        self._claims.release(copy.name, copy.slot, why, capsule_fault, keep_older=older)

    def give_way(self, claim: Claim) -> None:
        """A claim of ours must end: claim first, then endpoints, then the copy."""
        self._end_copies(claim.capsule, claim.slot, "another node holds the slot", claim.generation)

    def record_changed(self, name: str, generation: int) -> None:
        """A newer generation came: copies of older ones that still start end; those that serve go on until a
        newer one answers. Whoever waits is seen to anew."""
        self.candidates.record_changed(name, generation)
        for copy in self._momentum.won(name):
            if copy.record.generation < generation and copy.state == START:
                self._end_copies(name, copy.slot, f"generation {generation} replaced it", generation - 1)
        self.voting.look_again()
        self.convening.record_changed(name, generation)
        self.scaling.record_changed(name, generation)

    def replaced(self, name: str, generation: int, slot: int | None = None) -> None:
        """A copy of this generation answers (in ``slot``, or anywhere): older ones here drain."""
        for copy in self._momentum.serving(name):
            if copy.record.generation < generation and slot in (None, copy.slot):
                self._end_copies(name, copy.slot, f"generation {generation} replaced it", generation - 1)

    def record_gone(self, name: str, why: str) -> None:
        """There is no such capsule any more: what this node has of it ends, in the usual order."""
        self.candidates.record_gone(name, why)
        self.scaling.record_gone(name)
        for copy in self._momentum.won(name):
            self._end_copies(name, copy.slot, why)
        self.calls.record_gone(name)

    def end_copy(self, copy: Copy, why: str) -> None:
        """A copy here is not needed: it drains."""
        self._end_copies(copy.name, copy.slot, why, copy.record.generation)

    def directory_changed(self, name: str, ended: Claim | None, reason: str, capsule_fault: bool) -> None:
        """What is known of a capsule's claims changed."""
        if ended:
            self.voting.claim_ended(ended)
        self.candidates.directory_changed(name)
        self.calls.directory_changed(name, self._claims.ready(name))
        self.convening.directory_changed(name, ended, reason, capsule_fault)
        self.scaling.directory_changed(name)

    def holders(self, peer: str, message: Holders) -> None:
        """An elector names holders: to whoever has requests waiting, or asked for one more."""
        self.calls.holders(peer, message)
        self.scaling.holders(message)

    def refused(self, peer: str, message: Refused) -> None:
        """An elector refuses: as above."""
        self.calls.refused(peer, message)
        self.scaling.refused(message)

    def unknown(self, peer: str, message: Unknown) -> None:
        """An elector lacks the record: as above."""
        self.calls.unknown(peer, message)
        self.scaling.unknown(peer, message)

    def end_all(self, why: str) -> None:
        """Every candidacy and copy here ends (the node leaves or drains)."""
        self.candidates.end_all(why)
        for name in sorted(self._momentum.running()):
            for copy in self._momentum.won(name):
                self._end_copies(name, copy.slot, why)

    def _end_copies(self, name: str, slot: int, why: str, newest: int | None = None) -> None:
        """In this order: the claim ends, endpoints go, then the copies of the slot drain; those up to the
        generation ``newest``, where that is given."""
        ending = [
            copy
            for copy in self._momentum.won(name)
            if copy.slot == slot and not copy.ending and (newest is None or copy.record.generation <= newest)
        ]
        for copy in ending:
            copy.ending = True
        held = self._claims.holding(name, slot)
        if held and (newest is None or held.generation <= newest):
            self._claims.release(name, slot, why)
        self.calls.local_changed(name)
        for copy in ending:
            if copy.instance in self._momentum.copies:
                self._momentum.drain(copy, why)
