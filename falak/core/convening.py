"""A convener: the elector that was called sees to it that a slot is filled, once, and tells the callers.

Owns elections open at this node and those waiting behind them (``ballot``); ``callers`` are those who wait for
the result. It does not vote (``voting``) nor run (``candidacy``). The rules (docs/concepts/elections.md):

    called --a ready claim is known--> answered
    called --a claim is known, not ready--> waiting for it
    called --else--> look (unless this node is first and saw everything) --> summon --> votes
    look --an elector before this one convenes already--> look again a little later
    votes --quorum--> won: announced; the callers are told when the winner's claim is ready
    votes --nobody can win--> the next epoch, for the one with most acks alone, with the proof
    votes --nothing for election_retry_s, or who got them is out--> the next epoch, for those that are left
    electors come or go, or become suspect --> look again
    too few electors can be reached --> wait for a link, or for a drop
    too many rounds --> a pause, then look again: what nodes know of each other settles meanwhile
    a claim is known to others, doubted only here --> given to the callers elsewhere, who may reach its holder
    all declined, or convene_deadline_s --> the callers are refused with the reasons

At most ``elections_open_max`` elections are open at once; the others wait in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from falak.core.ballot import Ballot, Ranking
from falak.core.callers import Callers
from falak.core.claims import Claims
from falak.core.delays import Delays
from falak.core.membership import Membership
from falak.core.model import Claim, Record, slots_max
from falak.core.orbits import Orbits
from falak.core.quorum import leader, needed, next_epoch, split, winner
from falak.core.settings import ELECTORS, Settings
from falak.core.summoning import Summoning
from falak.core.turn import Turn
from falak.core.voting import Voting
from falak.core.wire import (
    Call,
    Decline,
    Holders,
    Look,
    Proceed,
    Refused,
    Saw,
    Unknown,
    Voted,
    Won,
)

ROUNDS_MAX: Final = 8
"""Epochs an election goes through before it pauses."""
PAUSE_S: Final = 0.5
"""Length of that pause. Larger: fewer messages where nobody can win yet. Smaller: sooner once somebody can."""
DEFERRALS_MAX: Final = 8
"""Times it is left to an elector before this one that convenes too; then both convene."""
STARTS_TRIED_MAX: Final = 3
"""Winners whose copy failed before the callers are refused."""
TOLD_MAX: Final = 5
"""Nodes whose reasons are put into one refusal."""


class Convening:
    """The room. ``rank`` orders candidates for a record, given the caller and the peers that are out."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        delays: Delays,
        members: Membership,
        orbits: Orbits,
        claims: Claims,
        voting: Voting,
        rank: Callable[[Record, str, frozenset[str]], Ranking],
    ) -> None:
        self._turn, self._settings, self._delays = turn, settings, delays
        self._members, self._orbits, self._claims, self._voting = members, orbits, claims, voting
        self._summoning = Summoning(turn, settings, delays, members, claims, rank)
        self._open: dict[tuple[str, int], Ballot] = {}
        self._queue: deque[Ballot] = deque()
        self.callers = Callers(turn, settings)
        self._complete: dict[str, tuple[str, ...]] = {}

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Elections open (those without a winner yet) and waiting, and who waits for them, with limits."""
        return {
            "elections open": (self._gate(), self._settings.elections_open_max),
            "elections waiting": (len(self._queue), self._settings.elections_waiting_max),
            "ballots": (len(self._open), self._settings.records_max),
        } | self.callers.sizes()

    # --- calls -------------------------------------------------------------------------------------------

    def called(self, peer: str, message: Call) -> None:
        """A node asks who answers for a capsule."""
        name = message.capsule
        if not self._members.joined:
            self._turn.count("call_before_joined")
            return
        known = self._orbits.get(name)
        if known is None or known.generation < message.generation:
            self._turn.send(peer, Unknown(name, message.cause))
            return
        slot = self._slot_for(known, message.copies)
        claims = self._useful(name, message, slot is None)
        if claims:
            self._turn.send(peer, Holders(name, message.cause, claims))
            return
        full = slot is not None and len(self._queue) >= self._settings.elections_waiting_max
        if full or not self.callers.has_room(name, peer):
            self._turn.send(peer, Refused(name, message.cause, "the elector is busy; try again", 1))
            return
        self.callers.add(name, peer, message.cause)
        if slot is not None:
            self._enqueue(Ballot(name, slot, message.cause, peer))

    def _useful(self, name: str, message: Call, none_comes: bool) -> tuple[Claim, ...]:
        """What the caller can go on with at once: more ready copies than it knows; all there are, where there
        will not be more; older ones, where those will do until a newer one answers."""
        ready = self._claims.ready(name)
        if len(ready) > message.copies or (ready and none_comes and not self._under_way(name)):
            return ready
        return () if ready or message.generation else self._claims.older(name)

    def _slot_for(self, record: Record, copies: int) -> int | None:
        """The lowest free slot for one copy more than ``copies``; None where that many are coming already, or
        all slots are taken."""
        taken = {claim.slot for claim in self._claims.live(record.name)} | self._under_way(record.name)
        if len(taken) > copies:
            return None
        return next((slot for slot in range(slots_max(record)) if slot not in taken), None)

    def _under_way(self, name: str) -> set[int]:
        return {e.slot for e in (*self._open.values(), *self._queue) if e.capsule == name}

    def fills(self, key: tuple[str, int]) -> bool:
        """Whether an election of the slot is open or waits here."""
        return key in self._open or any(ballot.key == key for ballot in self._queue)

    def fill(self, name: str, slot: int, cause: str) -> None:
        """Fill a slot that nobody waits for."""
        if self.fills((name, slot)) or len(self._queue) >= self._settings.elections_waiting_max:
            self._turn.count("slots_not_called")
        else:
            self._enqueue(Ballot(name, slot, cause, self._turn.me))

    def _enqueue(self, ballot: Ballot) -> None:
        self._queue.append(ballot)
        self._next()

    def _next(self) -> None:
        while self._queue and self._gate() < self._settings.elections_open_max:
            ballot = self._queue.popleft()
            self._open[ballot.key] = ballot
            self._look(ballot)

    def _gate(self) -> int:
        return sum(1 for ballot in self._open.values() if not ballot.winner and not ballot.hindrance)

    # --- looking -----------------------------------------------------------------------------------------

    def _look(self, ballot: Ballot) -> None:
        """Ask the other electors for a claim, a vote, an open election, unless nothing can have been missed."""
        ballot.electors, ballot.rounds = self._electors_now(ballot.capsule), 0
        self._cancel(ballot, "look again", "retry")
        first = ballot.electors[0] == self._turn.me
        others = [e for e in ballot.electors if e != self._turn.me and self._members.reachable(e)]
        if not others or (first and self._complete.get(ballot.capsule) == ballot.electors):
            self._summon(ballot)
            return
        ballot.looking, ballot.unseen, ballot.answers = True, set(others), 0
        ballot.looked_at = self._turn.now
        ballot.deferred_to.clear()
        for elector in others:
            self._turn.send(elector, Look(*ballot.key))
        rtt_s = max(self._members.trips.seconds(elector) for elector in others)
        wait = max(2 * rtt_s + self._settings.look_floor_s, self._delays.patience("look"))
        self._after(wait, "look", ballot)

    def _electors_now(self, name: str) -> tuple[str, ...]:
        """Those named in a call: five, suspects included; where there are fewer, those that are not suspect."""
        electors = self._orbits.electors_of(name)
        if len(electors) >= ELECTORS:
            return electors
        return tuple(elector for elector in electors if self._members.usable(elector))

    def looked(self, peer: str, message: Look) -> None:
        """A convener that may have missed something looks at our vote and claim."""
        if self._voting.is_silent():
            return
        key = (message.capsule, message.slot)
        under_way = self.fills(key)
        self._turn.send(peer, Saw(*key, self._voting.vote_on(*key), self._claims.at_slot(*key), under_way))

    def saw(self, peer: str, message: Saw) -> None:
        """An elector answered our look."""
        ballot = self._open.get((message.capsule, message.slot))
        if ballot is None or peer not in ballot.unseen:
            return
        self._delays.sample("look", self._turn.now - ballot.looked_at)
        ballot.unseen.discard(peer)
        ballot.answers += 1
        if not ballot.unseen:
            self._complete[ballot.capsule] = self._orbits.electors_of(ballot.capsule)
        if ballot.looking:  # later its votes tell more
            ballot.votes[peer] = message.vote
        if message.claim:
            self._claims.learn(message.claim)
            if self._open.get(ballot.key) is not ballot:
                return
        if message.convening and ballot.is_before(peer, self._turn.me):
            ballot.deferred_to.add(peer)
        count = len(ballot.electors)
        enough = count >= ELECTORS and ballot.answers + 1 >= needed(count)
        if ballot.looking and (enough or not ballot.unseen):
            self._go_on(ballot)

    def _go_on(self, ballot: Ballot) -> None:
        """The look is over: leave it to an earlier elector that convenes, for a while, or summon."""
        ballot.looking = False
        self._cancel(ballot, "look")
        if ballot.deferred_to and ballot.deferrals < DEFERRALS_MAX:
            ballot.deferrals += 1
            self._turn.count("elections_deferred")
            self._after(self._settings.election_retry_s, "look again", ballot)
        else:
            self._summon(ballot)

    def saw_birth(self, name: str) -> None:
        """This node saw the capsule's first record appear: it cannot have missed a claim."""
        self._complete[name] = self._orbits.electors_of(name)

    # --- summoning ---------------------------------------------------------------------------------------

    def _summon(self, ballot: Ballot) -> None:
        """Call the candidates in the next epoch."""
        record = self._orbits.get(ballot.capsule)
        if record is None or self._must_wait(ballot) or not self._another_round(ballot):
            return
        ballot.generation = record.generation
        ranking = self._summoning.ranking(ballot, record)
        ranked = ranking.candidates
        if not ranked:
            self._refuse(ballot, ranking.refusals | ballot.declined)
            return
        ballot.candidates = [peer for peer, _ in ranked]
        self._turn.note(
            "election.called",
            ballot.cause,
            capsule=ballot.capsule,
            slot=ballot.slot,
            epoch=ballot.epoch,
            caller=self._members.name_of(ballot.caller),
            candidates=[self._members.name_of(peer) for peer, _ in ranked],
            gravities=[gravity for _, gravity in ranked],
            electors=[self._members.name_of(e) for e in ballot.electors],
        )
        for position, candidate in enumerate(ballot.candidates):
            ballot.summoned[candidate] = None
            self._turn.send(candidate, self._summoning.summons(ballot, record, position))

    def _must_wait(self, ballot: Ballot) -> bool:
        """Without links to enough electors nobody can win: look again when a link comes or electors change."""
        lost = [e for e in ballot.electors if not self._members.reachable(e)]
        waits = len(ballot.electors) - len(lost) < needed(len(ballot.electors))
        ballot.hindrance = f"{', '.join(map(self._members.name_of, lost))} cannot be reached" if waits else ""
        if waits:
            ballot.looking = False
            self._cancel(ballot, "look", "look again", "retry")
            self._next()
        return waits

    def _another_round(self, ballot: Ballot) -> bool:
        ballot.looking = False
        ballot.deferred_to.clear()
        self._cancel(ballot, "look", "look again")
        if ballot.rounds >= ROUNDS_MAX:
            self._pause(ballot)
            return False
        ballot.rounds += 1
        own = self._voting.vote_on(*ballot.key).epoch
        heard = [vote.epoch for vote in ballot.votes.values()]
        ballot.epoch = next_epoch([own, ballot.epoch, *heard])
        ballot.winner, ballot.timed, ballot.summoned_at = "", False, self._turn.now
        self._after(self._summoning.patience_s() * ballot.rounds, "retry", ballot)
        return True

    def _pause(self, ballot: Ballot) -> None:
        """Epoch after epoch decided nothing. Electors that come or go end the pause at once; when the callers'
        patience ends it is over (``_tell_late``)."""
        self._cancel(ballot, "retry")
        if self.callers.first(ballot.capsule) is None:
            self._close(ballot)
            return
        silent = {e: "no vote of it was heard" for e in ballot.electors if e not in ballot.votes}
        ballot.hindrance = self._told(silent | ballot.declined) or "the electors do not agree"
        self._after(PAUSE_S, "look again", ballot)
        self._next()

    # --- votes -------------------------------------------------------------------------------------------

    def voted(self, peer: str, message: Voted) -> None:
        """An elector told us whom it leads, or that the slot is held."""
        ballot = self._open.get((message.capsule, message.slot))
        if ballot is None or ballot.winner:
            return
        if peer not in ballot.electors:
            self._turn.count("vote_not_an_elector")
            return
        if message.claim and self._claims.learn(message.claim):
            if self._claims.lives(message.claim):
                return
            if message.claim.ready and self._members.is_doubted(message.claim.holder):
                self.callers.tell_elsewhere(ballot.capsule, (message.claim,))
                if self.callers.first(ballot.capsule) is None:
                    self._close(ballot)
                    return
        self._summoning.time(ballot, message.vote)
        ballot.votes[peer] = message.vote
        won = winner(ballot.votes, ballot.electors)
        if won and won[1] not in ballot.declined:
            self._announce(ballot, *won)
        elif split(ballot.votes, ballot.electors, ballot.epoch):
            self._call_again(ballot)

    def _announce(self, ballot: Ballot, epoch: int, who: str) -> None:
        ballot.winner, ballot.epoch = who, epoch
        self._tell_candidates(ballot, epoch, who)
        self._after(2 * self._summoning.patience_s(), "retry", ballot)  # its claim comes in a round trip
        self._next()

    def _tell_candidates(self, ballot: Ballot, epoch: int, who: str) -> None:
        for candidate in ballot.summoned:
            if candidate != who and candidate not in ballot.declined:
                word = Won(ballot.capsule, ballot.slot, max(epoch, ballot.epoch), who)
                self._turn.send(candidate, word)

    def _call_again(self, ballot: Ballot) -> None:
        """Nobody can win this epoch: the one with most acks alone, with the proof."""
        record = self._orbits.get(ballot.capsule)
        proof = tuple(sorted(ballot.votes.items()))
        _, most, _ = leader(ballot.votes, ballot.electors)
        if record is None or most in ballot.declined or not self._members.reachable(most):
            self._summon(ballot)
            return
        self._turn.count("elections_split")
        if self._another_round(ballot):
            ballot.candidates = [most]
            ballot.summoned[most] = None
            self._turn.send(most, replace(self._summoning.summons(ballot, record, 0), proof=proof))

    def declined(self, peer: str, message: Decline) -> None:
        """A candidate refused: the next one goes at once. One that gave up may have had votes: a new epoch."""
        ballot = self._open.get((message.capsule, message.slot))
        if ballot and peer in ballot.candidates and message.epoch == ballot.epoch:
            self._rule_out(ballot, peer, message.reason, message.proposed)

    def _rule_out(self, ballot: Ballot, peer: str, reason: str, proposed: bool) -> None:
        ballot.declined[peer] = reason
        left = ballot.left()
        if ballot.winner == peer or not left or proposed or ballot.has_votes(peer):
            self._summon(ballot)
        elif not ballot.winner and ballot.candidates.index(peer) < ballot.candidates.index(left[0]):
            self._turn.send(left[0], Proceed(ballot.capsule, ballot.slot, ballot.epoch))

    def _refuse(self, ballot: Ballot, why: dict[str, str]) -> None:
        self._close(ballot)
        if self._claims.live(ballot.capsule):
            return  # one more cannot run: those who wait go on waiting for the one that starts, or have theirs
        reason = f"no node can run {ballot.capsule} now ({self._told(why)})"
        self.callers.tell_refused(ballot.capsule, reason, 1)

    def _told(self, why: dict[str, str]) -> str:
        told = [f"{self._members.name_of(peer)}: {reason}" for peer, reason in sorted(why.items())]
        if len(told) > TOLD_MAX:
            told = [*told[:TOLD_MAX], f"and {len(told) - TOLD_MAX} more"]
        return "; ".join(told)

    # --- results -----------------------------------------------------------------------------------------

    def directory_changed(self, name: str, ended: Claim | None, reason: str, capsule_fault: bool) -> None:
        """The claims of a capsule changed: answer who waits, or begin again."""
        ready = self._claims.ready(name)
        live = {claim.slot: claim for claim in self._claims.live(name)}
        for ballot in [e for e in self._open.values() if e.capsule == name and e.slot in live]:
            if not ballot.winner:
                self._tell_candidates(ballot, live[ballot.slot].epoch, live[ballot.slot].holder)
            self._close(ballot)
        self._queue = deque(e for e in self._queue if e.capsule != name or e.slot not in live)
        if ready:
            self.callers.tell_holders(name, ready)
        elif not live and reason:
            if ended:
                self.callers.failed(name, ended.holder, reason)
            self._start_over(name, capsule_fault)

    def record_changed(self, name: str, generation: int) -> None:
        """A newer generation came: elections for the older one go on for this one."""
        for ballot in [e for e in self._open.values() if e.capsule == name and e.candidates]:
            if ballot.generation < generation:
                self._summon(ballot)
        if not self._claims.live(name):
            self._start_over(name, False)

    def _start_over(self, name: str, capsule_fault: bool) -> None:
        failures = self.callers.failures(name)
        caller = self.callers.first(name)
        if capsule_fault or len(failures) >= STARTS_TRIED_MAX:
            told = "; ".join(dict.fromkeys(why for _, why in failures))
            self.callers.tell_refused(name, f"{name} did not start: {told}", 5)
        elif caller and not self._under_way(name):
            peer, cause = caller
            self._enqueue(Ballot(name, 0, cause, peer, failed=tuple(holder for holder, _ in failures)))

    def _tell_late(self, name: str) -> None:
        whys = [e.hindrance for e in self._open.values() if e.capsule == name and e.hindrance]
        starting = [self._members.name_of(c.holder) for c in self._claims.live(name) if not c.ready]
        whys += [f"it still starts at {holder}" for holder in starting]
        if not whys and any(e.capsule == name for e in self._queue):
            whys = [f"{len(self._queue)} elections wait here"]
        reason = "; ".join(whys) or "no result was reached in time"
        for ballot in [b for b in self._open.values() if b.capsule == name and b.hindrance]:
            self._close(ballot)
        self.callers.tell_refused(name, f"{name} runs nowhere yet: {reason}; try again", 1)

    def _close(self, ballot: Ballot) -> None:
        self._open.pop(ballot.key, None)
        self._cancel(ballot, "look", "look again", "retry")
        self._next()

    # --- time and members --------------------------------------------------------------------------------

    def _after(self, delay_s: float, what: str, ballot: Ballot) -> None:
        self._turn.after(delay_s, "convene", what, ballot.capsule, str(ballot.slot))

    def _cancel(self, ballot: Ballot, *whats: str) -> None:
        for what in whats:
            self._turn.timers.cancel(("convene", what, ballot.capsule, str(ballot.slot)))

    def due(self, what: str, capsule: str, slot: str = "0") -> None:
        """A timer of this room fired."""
        ballot = self._open.get((capsule, int(slot)))
        if what == "callers":
            self._tell_late(capsule)
        elif ballot is None:
            return
        elif what == "look":
            self._go_on(ballot)
        elif what == "look again" or ballot.electors != self._electors_now(capsule):
            self._look(ballot)
        else:
            self._summon(ballot)

    def member_suspended(self, peer: str) -> None:
        """Elections that hang on this member go on without it."""
        self.members_changed()
        for ballot in list(self._open.values()):
            if peer in ballot.unseen or peer in ballot.deferred_to:
                waited = bool(ballot.deferred_to) or (ballot.looking and len(ballot.unseen) == 1)
                ballot.unseen.discard(peer)
                ballot.deferred_to.discard(peer)
                if waited and not ballot.deferred_to:
                    self._go_on(ballot)
            elif peer in ballot.candidates and peer not in ballot.declined:
                may_have_votes = ballot.candidates[0] == peer
                self._rule_out(ballot, peer, "it is suspect", may_have_votes)

    def members_changed(self) -> None:
        """Elections whose electors are others now, or that waited for electors, look again."""
        for ballot in list(self._open.values()):
            if ballot.winner or self._open.get(ballot.key) is not ballot:
                continue
            if ballot.hindrance or ballot.electors != self._electors_now(ballot.capsule):
                self._look(ballot)

    def met(self, peer: str) -> None:
        """A link with a member is new: elections that had too few electors may go on."""
        for ballot in list(self._open.values()):
            if ballot.hindrance and peer in ballot.electors:
                self._look(ballot)
