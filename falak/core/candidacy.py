"""A candidate: weighs itself, waits by its rank, proposes itself, starts the copy meanwhile, wins or withdraws.

Owns this node's candidacies, one a slot. It votes for nobody and calls nobody. The rules
(docs/concepts/elections.md): the order is the convener's ranking (own gravity decides only whether to refuse
and what is told); the copy starts with the proposal and is cancelled if the election is lost.

    summoned --refusal--> (declined)
    summoned --rank x stagger, or proceed--> proposed --quorum of acks--> won
    summoned, proposed --another won, or holds the slot--> withdrawn (the copy is cancelled)
    proposed --the copy fails, or a newer generation comes--> given up: the electors are told, so that they may
    vote for others, and the convener, so that others go
    proposed --no result for candidacy_s--> withdrawn, the electors are told (the convener goes by its own time)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from falak.core.claims import Claims
from falak.core.gravity import Pull, View, Weights, refusal, weigh
from falak.core.losses import FLAPPED
from falak.core.membership import Membership
from falak.core.model import Claim, Profile, Record, Vote, clip
from falak.core.momentum import ACTIVE, FAILURE, Copy, Momentum
from falak.core.orbits import Orbits
from falak.core.quorum import leader, needed
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.core.wire import Claimed, Decline, Lookup, Proceed, Propose, Summon, Voted, Withdrawn, Won

CANDIDACIES_MAX: Final = 1024
"""Candidacies at once; one more is declined with "busy"."""


class Candidacy(msgspec.Struct):
    """One slot this node may run. ``copy`` is there once it proposed, ``first_epoch`` the epoch in which it
    first did: an older vote for this node is of an earlier election."""

    summon: Summon
    convener: str
    record: Record
    pull: Pull
    first_epoch: int
    votes: dict[str, Vote] = msgspec.field(default_factory=dict)
    copy: Copy | None = None
    proposed: bool = False


class Candidates:
    """The room. ``look`` gives this node's view of itself for a capsule (artifacts, failures, copies)."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        weights: Weights,
        members: Membership,
        orbits: Orbits,
        claims: Claims,
        momentum: Momentum,
        describe: Callable[[], Profile],
        look: Callable[[Record, Profile], View],
    ) -> None:
        self._turn, self._settings, self._weights = turn, settings, weights
        self._members, self._orbits, self._claims, self._momentum = members, orbits, claims, momentum
        self._describe, self._look = describe, look
        self._open: dict[tuple[str, int], Candidacy] = {}

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Candidacies at once and their limit."""
        return {"candidacies": (len(self._open), CANDIDACIES_MAX)}

    def summoned(self, peer: str, message: Summon) -> None:
        """A convener calls us to an election."""
        key = (message.capsule, message.slot)
        held = self._claims.holding(*key)
        if held and held.generation >= message.generation:
            self._turn.send(peer, Claimed(held, self._describe().capacity))
            return
        known = self._open.get(key)
        if known and known.copy and message.epoch <= known.summon.epoch:
            return
        record, why = self._weighed(message, known)
        if record is None:
            self._turn.send(peer, Lookup(message.capsule, 0))  # for the next time
        if record is None or why:
            self._decline(peer, message, why)
            return
        pull = weigh(record, self._view(record, message), self._weights)
        candidacy = self._open[key] = Candidacy(message, peer, record, pull, message.epoch)
        if known and known.copy:
            candidacy.copy, candidacy.first_epoch = known.copy, known.first_epoch
        if message.rank == 0 or message.proof:
            self._propose(key, candidacy)
        else:
            self._turn.after(message.rank * message.stagger_us / 1e6, "candidate", "rank", key[0], str(key[1]))

    def _weighed(self, message: Summon, known: Candidacy | None) -> tuple[Record | None, str]:
        record = self._orbits.get(message.capsule)
        if record is None or record.generation < message.generation:
            return None, "its record has not come here yet"
        if not self._members.joined:
            return record, "it has not joined yet"
        if self._members.flapping(self._turn.me):
            return record, FLAPPED
        if known:
            return record, ""
        if len(self._open) >= CANDIDACIES_MAX:
            return record, "it is busy with other elections"
        return record, refusal(record, self._view(record, message))

    def _view(self, record: Record, message: Summon) -> View:
        view = self._look(record, self._describe())
        return msgspec.structs.replace(
            view, rtt_s=self._members.trips.seconds(message.caller), zone_taken=message.zone_taken
        )

    def _decline(self, peer: str, message: Summon, why: str, proposed: bool = False) -> None:
        self._turn.note(
            "election.declined", message.cause, capsule=message.capsule, slot=message.slot, reason=why
        )
        capacity = self._describe().capacity
        word = Decline(message.capsule, message.slot, message.epoch, clip(why), capacity, proposed)
        self._turn.send(peer, word)

    def proceed(self, peer: str, message: Proceed) -> None:
        """Those before us are out."""
        key = (message.capsule, message.slot)
        candidacy = self._open.get(key)
        if candidacy and candidacy.convener == peer and candidacy.summon.epoch == message.epoch:
            self._propose(key, candidacy)

    def _propose(self, key: tuple[str, int], candidacy: Candidacy) -> None:
        if candidacy.proposed:
            return
        summon = candidacy.summon
        self._turn.timers.cancel(("candidate", "rank", key[0], str(key[1])))
        if candidacy.copy is None:
            candidacy.copy = self._momentum.begin(candidacy.record, key[1], summon.cause)
            if candidacy.copy.state == FAILURE:
                self._give_up(key, candidacy, f"its copy failed: {candidacy.copy.why}")
                return
        candidacy.proposed = True
        self._turn.after(self._settings.candidacy_s, "candidate", "over", key[0], str(key[1]))
        self._turn.note(
            "election.proposed",
            summon.cause,
            capsule=key[0],
            slot=key[1],
            epoch=summon.epoch,
            rank=summon.rank,
            gravity=candidacy.pull.gravity,
            terms={name: round(value, 3) for name, value in candidacy.pull.terms.items()},
        )
        proposal = Propose(
            summon.capsule,
            candidacy.record.generation,
            summon.slot,
            summon.epoch,
            candidacy.pull.gravity,
            candidacy.convener,
            summon.electors,
            summon.cause,
            self._describe().capacity,
            summon.proof,
        )
        for elector in summon.electors:
            self._turn.send(elector, proposal)

    def voted(self, peer: str, message: Voted) -> None:
        """An elector answered our proposal."""
        key = (message.capsule, message.slot)
        candidacy = self._open.get(key)
        if candidacy is None or candidacy.copy is None:
            return
        if peer not in candidacy.summon.electors:
            self._turn.count("vote_not_an_elector")
            return
        if message.claim and message.claim.holder != self._turn.me and self._claims.lives(message.claim):
            self.withdraw(key, f"{self._members.name_of(message.claim.holder)} holds the slot")
            return
        if message.vote.epoch < candidacy.first_epoch:
            return
        candidacy.votes[peer] = message.vote
        epoch, who, acks = leader(candidacy.votes, candidacy.summon.electors)
        if acks < needed(len(candidacy.summon.electors)):
            return
        if who == self._turn.me:
            self._win(key, candidacy, epoch)
        elif self._members.usable(who):
            self.withdraw(key, f"{self._members.name_of(who)} won")

    def _win(self, key: tuple[str, int], candidacy: Candidacy, epoch: int) -> None:
        del self._open[key]
        self._cancel_timers(key)
        copy = candidacy.copy
        if copy is None:
            return
        acks = [e for e in candidacy.summon.electors if candidacy.votes.get(e) == Vote(epoch, self._turn.me)]
        names = [self._members.name_of(elector) for elector in acks]
        self._turn.note(
            "election.won",
            candidacy.summon.cause,
            capsule=key[0],
            slot=key[1],
            epoch=epoch,
            acks=names,
            electors=len(candidacy.summon.electors),
            gravity=candidacy.pull.gravity,
        )
        claim = Claim(
            capsule=key[0],
            generation=candidacy.record.generation,
            slot=key[1],
            holder=self._turn.me,
            boot=self._describe().node.boot,
            sequence=0,  # the claims' own counter fills it in
            epoch=epoch,
            gravity=candidacy.pull.gravity,
            ready=copy.state == ACTIVE,
            cause=copy.cause,
        )
        self._momentum.confirm(copy)  # first: who hears of the claim may be here at once
        self._claims.hold(claim)

    def announced(self, peer: str, message: Won) -> None:
        """The convener says who won."""
        key = (message.capsule, message.slot)
        candidacy = self._open.get(key)
        if candidacy is None or message.winner == self._turn.me or message.epoch < candidacy.summon.epoch:
            return
        if candidacy.convener == peer:
            self.withdraw(key, f"{self._members.name_of(message.winner)} won")

    def directory_changed(self, name: str) -> None:
        """An elector hears of claims itself: a slot that is taken needs no candidate."""
        for key in [key for key in self._open if key[0] == name]:
            claim = self._claims.at_slot(*key)
            if (
                claim
                and claim.holder != self._turn.me
                and claim.generation >= self._open[key].summon.generation
            ):
                self.withdraw(key, f"{self._members.name_of(claim.holder)} holds the slot")

    def withdraw(self, key: tuple[str, int], why: str) -> None:
        """Another one has the slot: give a candidacy up and cancel its copy."""
        candidacy = self._open.pop(key, None)
        self._cancel_timers(key)
        if candidacy and candidacy.copy and candidacy.copy.instance in self._momentum.copies:
            self._momentum.stop(candidacy.copy, why)

    def _give_up(self, key: tuple[str, int], candidacy: Candidacy, why: str) -> None:
        """Nobody else is known to have the slot: say so to whoever counts on this node."""
        self._free_votes(key, candidacy, why)
        self._decline(candidacy.convener, candidacy.summon, why, candidacy.proposed)

    def _free_votes(self, key: tuple[str, int], candidacy: Candidacy, why: str) -> None:
        self.withdraw(key, why)
        summon = candidacy.summon
        if candidacy.proposed:
            for elector in summon.electors:
                self._turn.send(elector, Withdrawn(summon.capsule, summon.slot, summon.epoch))

    def copy_failed(self, copy: Copy, why: str) -> None:
        """The copy of a candidacy is over."""
        key = (copy.name, copy.slot)
        candidacy = self._open.get(key)
        if candidacy and candidacy.copy is copy:
            self._give_up(key, candidacy, f"its copy failed: {why}")

    def record_changed(self, name: str, generation: int) -> None:
        """A newer generation came: candidacies for the older one are void."""
        for key, candidacy in list(self._open.items()):
            if key[0] == name and candidacy.record.generation < generation:
                self._give_up(key, candidacy, f"generation {generation} came")

    def record_gone(self, name: str, why: str) -> None:
        """There is no such capsule any more."""
        for key, candidacy in list(self._open.items()):
            if key[0] == name:
                self._give_up(key, candidacy, why)

    def end_all(self, why: str) -> None:
        """This node leaves: it is a candidate no more."""
        for key, candidacy in list(self._open.items()):
            self._give_up(key, candidacy, why)

    def due(self, what: str, capsule: str, slot: str) -> None:
        """A timer of this room fired."""
        key = (capsule, int(slot))
        candidacy = self._open.get(key)
        if candidacy is None:
            return
        if what == "rank":
            self._propose(key, candidacy)
        elif what == "over":
            self._free_votes(key, candidacy, "it heard no result")

    def _cancel_timers(self, key: tuple[str, int]) -> None:
        for what in ("rank", "over"):
            self._turn.timers.cancel(("candidate", what, key[0], str(key[1])))
