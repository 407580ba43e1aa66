"""A convener: the elector that was called sees to it that a slot is filled, once, and tells the callers.

Owns elections open at this node, those waiting behind them, and who waits for their result. It does not vote
(``voting``) nor run (``candidacy``). PROTOCOLS 6.3 to 6.6:

    called --a ready claim is known--> answered
    called --a claim is known, not ready--> waiting for it
    called --else--> look (unless this node is first and saw everything) --> summon --> votes
    look --an elector before this one convenes already--> look again a little later
    votes --quorum--> won: announced; the callers are told when the winner's claim is ready
    votes --nobody can win--> the next epoch, for the one with most acks alone, with the proof
    votes --nothing for election_retry_s, or who got them is out--> the next epoch, for those that are left
    all declined, or too many rounds --> the callers are refused with the reasons

At most ``elections_open_max`` elections are open at once; the others wait in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from falak.core.claims import Claims
from falak.core.delays import Delays
from falak.core.membership import Membership
from falak.core.model import Claim, Record, Vote, clip
from falak.core.orbits import Orbits
from falak.core.quorum import leader, needed, next_epoch, split, winner
from falak.core.settings import ELECTORS, Settings
from falak.core.turn import Turn
from falak.core.voting import Voting
from falak.core.wire import (
    Call,
    Decline,
    Heard,
    Holders,
    Look,
    Proceed,
    Refused,
    Saw,
    Summon,
    Unknown,
    Voted,
    Won,
)

ROUNDS_MAX: Final = 8
"""Epochs one election goes through before the callers are refused."""
DEFERRALS_MAX: Final = 8
"""Times it is left to an elector before this one that convenes too; then both convene."""
STARTS_TRIED_MAX: Final = 3
"""Winners whose copy failed before the callers are refused."""
CALLERS_MAX: Final = 1024
"""Callers waiting for one capsule: one a node, so never reached in a cell; beyond it a call is refused."""
TOLD_MAX: Final = 5
"""Nodes whose reasons are put into one refusal."""

Key = tuple[str, int]


@dataclass(slots=True)
class Election:
    """One slot to be filled. ``votes``: the last word of each elector; ``summoned``: who was ever called to it
    (and in this epoch: ``candidates``); ``declined``: who is out, and why; ``failed``: whose copy failed."""

    capsule: str
    slot: int
    cause: str
    caller: str
    failed: tuple[str, ...] = ()
    generation: int = 0
    electors: tuple[str, ...] = ()
    epoch: int = 0
    rounds: int = 0
    deferrals: int = 0
    looked_at: float = 0.0
    looking: set[str] = field(default_factory=set)
    deferred_to: set[str] = field(default_factory=set)
    summoned_at: float = 0.0
    timed: bool = False
    candidates: list[str] = field(default_factory=list)
    summoned: dict[str, None] = field(default_factory=dict)
    votes: dict[str, Vote] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)
    winner: str = ""

    @property
    def key(self) -> Key:
        """The slot."""
        return (self.capsule, self.slot)

    def left(self) -> list[str]:
        """This epoch's candidates that are not out, by rank."""
        return [c for c in self.candidates if c not in self.declined]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Who may run a capsule, the best first, with the gravity estimated for each; and why others may not."""

    candidates: tuple[tuple[str, int], ...]
    refusals: dict[str, str]


@dataclass(slots=True)
class _Waiting:
    callers: dict[str, str] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)


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
        self._rank = rank
        self._open: dict[Key, Election] = {}
        self._queue: deque[Election] = deque()
        self._waiting: dict[str, _Waiting] = {}
        self._complete: dict[str, tuple[str, ...]] = {}

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Elections open (those without a winner yet) and waiting, and callers of one capsule, with limits."""
        callers = max((len(waiting.callers) for waiting in self._waiting.values()), default=0)
        return {
            "elections open": (self._gate(), self._settings.elections_open_max),
            "elections waiting": (len(self._queue), self._settings.elections_waiting_max),
            "callers of one capsule": (callers, CALLERS_MAX),
        }

    # --- calls -------------------------------------------------------------------------------------------

    def called(self, peer: str, message: Call) -> None:
        """A node asks who answers for a capsule."""
        name = message.capsule
        if not self._members.joined:
            self._turn.count("call_before_joined")
            return
        if self._orbits.get(name) is None:
            self._turn.send(peer, Unknown(name, message.cause))
            return
        claims = self._claims.ready(name)
        if claims:
            self._turn.send(peer, Holders(name, message.cause, claims))
            return
        convene = not self._claims.live(name) and not self._is_under_way(name)
        waiting = self._waiting.get(name, _Waiting())
        crowd = len(waiting.callers) >= CALLERS_MAX and peer not in waiting.callers
        if crowd or (convene and len(self._queue) >= self._settings.elections_waiting_max):
            self._turn.send(peer, Refused(name, message.cause, "the elector is busy; try again", 1))
            return
        if name not in self._waiting:
            self._waiting[name] = waiting
            self._turn.after(self._settings.call_deadline_s, "convene", "callers", name)
        waiting.callers[peer] = message.cause
        self._turn.send(peer, Heard(name, message.cause))
        if convene:
            self._enqueue(Election(name, 0, message.cause, peer))

    def _is_under_way(self, name: str) -> bool:
        return any(e.capsule == name for e in (*self._open.values(), *self._queue))

    def _enqueue(self, election: Election) -> None:
        self._queue.append(election)
        self._next()

    def _next(self) -> None:
        while self._queue and self._gate() < self._settings.elections_open_max:
            election = self._queue.popleft()
            self._open[election.key] = election
            self._look(election)

    def _gate(self) -> int:
        return sum(1 for election in self._open.values() if not election.winner)

    def caller_gone(self, peer: str) -> None:
        """A caller's run is over: it waits for nothing."""
        for waiting in self._waiting.values():
            waiting.callers.pop(peer, None)

    # --- looking -----------------------------------------------------------------------------------------

    def _look(self, election: Election) -> None:
        """Ask the other electors for a claim, a vote, an open election, unless nothing can have been missed."""
        election.electors = self._orbits.electors_of(election.capsule)
        if len(election.electors) < ELECTORS:
            election.electors = tuple(e for e in election.electors if self._members.usable(e))
        first = election.electors[0] == self._turn.me
        others = [e for e in election.electors if e != self._turn.me and self._members.reachable(e)]
        if not others or (first and self._complete.get(election.capsule) == election.electors):
            self._summon(election)
            return
        election.looking, election.looked_at = set(others), self._turn.now
        election.deferred_to.clear()
        for elector in others:
            self._turn.send(elector, Look(*election.key))
        rtt_s = max(self._members.rtt_s(elector) for elector in others)
        wait = max(2 * rtt_s + self._settings.look_floor_s, self._delays.patience("look"))
        self._after(wait, "look", election)

    def looked(self, peer: str, message: Look) -> None:
        """A convener that may have missed something looks at our vote and claim."""
        if self._voting.is_silent():
            return
        key = (message.capsule, message.slot)
        under_way = self._is_under_way(message.capsule)
        self._turn.send(peer, Saw(*key, self._voting.vote_on(*key), self._claims.at_slot(*key), under_way))

    def saw(self, peer: str, message: Saw) -> None:
        """An elector answered our look."""
        election = self._open.get((message.capsule, message.slot))
        if election is None or peer not in election.looking:
            return
        self._delays.sample("look", self._turn.now - election.looked_at)
        election.looking.discard(peer)
        election.votes[peer] = message.vote
        if message.claim:
            self._claims.learn(message.claim)
            if self._open.get(election.key) is not election:
                return
        earlier = election.electors[: self._place(election, self._turn.me)]
        if message.convening and peer in earlier:
            election.deferred_to.add(peer)
        if not election.looking:
            self._complete[election.capsule] = self._orbits.electors_of(election.capsule)
        enough = (
            len(election.votes) + 1 >= needed(len(election.electors)) and len(election.electors) >= ELECTORS
        )
        if not election.looking or enough:
            self._go_on(election)

    @staticmethod
    def _place(election: Election, peer: str) -> int:
        return election.electors.index(peer) if peer in election.electors else len(election.electors)

    def _go_on(self, election: Election) -> None:
        """The look is over: leave it to an earlier elector that convenes, for a while, or summon."""
        election.looking.clear()
        if election.deferred_to and election.deferrals < DEFERRALS_MAX:
            election.deferrals += 1
            self._turn.count("elections_deferred")
            self._after(self._settings.election_retry_s, "look again", election)
        else:
            self._summon(election)

    def saw_birth(self, name: str) -> None:
        """This node saw the capsule's first record appear: it cannot have missed a claim."""
        self._complete[name] = self._orbits.electors_of(name)

    # --- summoning ---------------------------------------------------------------------------------------

    def _summon(self, election: Election) -> None:
        """Call the candidates in the next epoch."""
        record = self._orbits.get(election.capsule)
        if record is None or not self._another_round(election):
            return
        election.generation = record.generation
        ranking = self._ranking(election, record)
        ranked = ranking.candidates
        if not ranked:
            self._refuse(election, ranking.refusals | election.declined)
            return
        election.candidates = [peer for peer, _ in ranked]
        self._turn.note(
            "election.called",
            election.cause,
            capsule=election.capsule,
            slot=election.slot,
            epoch=election.epoch,
            caller=self._members.name_of(election.caller),
            candidates=[self._members.name_of(peer) for peer, _ in ranked],
            gravities=[gravity for _, gravity in ranked],
            electors=[self._members.name_of(e) for e in election.electors],
        )
        for position, candidate in enumerate(election.candidates):
            election.summoned[candidate] = None
            self._turn.send(candidate, self._summons(election, record, position))

    def _ranking(self, election: Election, record: Record) -> Ranking:
        """Of those that are not out; nodes where it failed to start only if there are no others."""
        out = frozenset(election.declined)
        ranking = self._rank(record, election.caller, out.union(election.failed))
        return ranking if ranking.candidates else self._rank(record, election.caller, out)

    def _another_round(self, election: Election) -> bool:
        election.rounds += 1
        election.looking.clear()
        election.deferred_to.clear()
        self._cancel(election, "look", "look again")
        if election.rounds > ROUNDS_MAX:
            silent = {e: "no vote of it was heard" for e in election.electors if e not in election.votes}
            self._refuse(election, silent | election.declined)
            return False
        own = self._voting.vote_on(*election.key).epoch
        heard = [vote.epoch for vote in election.votes.values()]
        election.epoch = next_epoch([own, election.epoch, *heard])
        election.winner, election.timed, election.summoned_at = "", False, self._turn.now
        self._after(self._patience_s() * election.rounds, "retry", election)
        return True

    def _patience_s(self) -> float:
        return max(self._settings.election_retry_s, self._delays.patience("ask") * 2)

    def _summons(self, election: Election, record: Record, position: int) -> Summon:
        candidate = election.candidates[position]
        rtts = [self._members.rtt_s(peer) for peer in election.candidates[: position + 1]]
        stagger_s = self._settings.stagger_rtts * (max(rtts) or self._settings.rtt_s)
        zones = self._members.zones()
        taken = {zones.get(c.holder, "") for c in self._claims.live(election.capsule)}
        return Summon(
            capsule=election.capsule,
            generation=record.generation,
            slot=election.slot,
            epoch=election.epoch,
            rank=position,
            stagger_us=round(max(stagger_s, self._delays.patience("ask")) * 1e6),
            electors=election.electors,
            caller=election.caller,
            zone_taken=bool(zones.get(candidate)) and zones.get(candidate) in taken,
            cause=election.cause,
        )

    # --- votes -------------------------------------------------------------------------------------------

    def voted(self, peer: str, message: Voted) -> None:
        """An elector told us whom it leads, or that the slot is held."""
        election = self._open.get((message.capsule, message.slot))
        if election is None or election.winner:
            return
        if peer not in election.electors:
            self._turn.count("vote_not_an_elector")
            return
        if message.claim and self._claims.learn(message.claim) and self._claims.lives(message.claim):
            return
        self._time(election, message.vote)
        election.votes[peer] = message.vote
        won = winner(election.votes, election.electors)
        if won and won[1] not in election.declined:
            self._announce(election, *won)
        elif split(election.votes, election.electors, election.epoch):
            self._call_again(election)

    def _time(self, election: Election, vote: Vote) -> None:
        """The first vote for the first candidate tells how long an answer takes."""
        if election.timed or not election.candidates or vote != Vote(election.epoch, election.candidates[0]):
            return
        election.timed = True
        self._delays.sample("ask", self._turn.now - election.summoned_at)

    def _announce(self, election: Election, epoch: int, who: str) -> None:
        election.winner, election.epoch = who, epoch
        self._tell_candidates(election, epoch, who)
        self._after(2 * self._patience_s(), "retry", election)  # its claim comes in a round trip
        self._next()

    def _tell_candidates(self, election: Election, epoch: int, who: str) -> None:
        for candidate in election.summoned:
            if candidate != who and candidate not in election.declined:
                word = Won(election.capsule, election.slot, max(epoch, election.epoch), who)
                self._turn.send(candidate, word)

    def _call_again(self, election: Election) -> None:
        """Nobody can win this epoch: the one with most acks alone, with the proof."""
        record = self._orbits.get(election.capsule)
        proof = tuple(sorted(election.votes.items()))
        _, most, _ = leader(election.votes, election.electors)
        if record is None or most in election.declined or not self._members.reachable(most):
            self._summon(election)
            return
        self._turn.count("elections_split")
        if self._another_round(election):
            election.candidates = [most]
            election.summoned[most] = None
            self._turn.send(most, replace(self._summons(election, record, 0), proof=proof))

    def declined(self, peer: str, message: Decline) -> None:
        """A candidate refused: the next one goes at once. One that gave up may have had votes: a new epoch."""
        election = self._open.get((message.capsule, message.slot))
        if election is None or peer not in election.summoned:
            return
        if message.epoch == election.epoch or message.proposed:
            self._rule_out(election, peer, message.reason, message.proposed)

    def _rule_out(self, election: Election, peer: str, reason: str, proposed: bool) -> None:
        election.declined[peer] = reason
        had_votes = any(vote == Vote(election.epoch, peer) for vote in election.votes.values())
        left = election.left()
        if election.winner == peer or not left or proposed or had_votes:
            self._summon(election)
        elif not election.winner and election.candidates.index(peer) < election.candidates.index(left[0]):
            self._turn.send(left[0], Proceed(election.capsule, election.slot, election.epoch))

    def _refuse(self, election: Election, why: dict[str, str]) -> None:
        told = [f"{self._members.name_of(peer)}: {reason}" for peer, reason in sorted(why.items())]
        if len(told) > TOLD_MAX:
            told = [*told[:TOLD_MAX], f"and {len(told) - TOLD_MAX} more"]
        reason = "; ".join(told) or "the electors do not agree"
        self._close(election)
        self._tell_refused(election.capsule, f"no node can run {election.capsule} now ({reason})", 1)

    # --- results -----------------------------------------------------------------------------------------

    def directory_changed(self, name: str, ended: Claim | None, reason: str, capsule_fault: bool) -> None:
        """The claims of a capsule changed: answer who waits, or begin again."""
        ready = self._claims.ready(name)
        live = {claim.slot: claim for claim in self._claims.live(name)}
        for election in [e for e in self._open.values() if e.capsule == name and e.slot in live]:
            if not election.winner:
                self._tell_candidates(election, live[election.slot].epoch, live[election.slot].holder)
            self._close(election)
        self._queue = deque(e for e in self._queue if e.capsule != name or e.slot not in live)
        if ready:
            self._tell_holders(name, ready)
        elif not live and reason and name in self._waiting:
            self._start_over(name, ended.holder if ended else "", reason, capsule_fault)

    def record_changed(self, name: str, generation: int) -> None:
        """A newer generation came: elections for the older one go on for this one."""
        for election in [e for e in self._open.values() if e.capsule == name and e.candidates]:
            if election.generation < generation:
                self._summon(election)
        if name in self._waiting and not self._claims.live(name) and not self._is_under_way(name):
            self._start_over(name, "", "", False)

    def _tell_holders(self, name: str, claims: tuple[Claim, ...]) -> None:
        for peer, cause in self._end_waiting(name).items():
            self._turn.send(peer, Holders(name, cause, claims))

    def _start_over(self, name: str, holder: str, reason: str, capsule_fault: bool) -> None:
        waiting = self._waiting[name]
        if holder:
            waiting.failures.append((holder, reason))
        if capsule_fault or len(waiting.failures) >= STARTS_TRIED_MAX:
            told = "; ".join(dict.fromkeys(why for _, why in waiting.failures))
            self._tell_refused(name, f"{name} did not start: {told}", 5)
        elif not self._is_under_way(name) and waiting.callers:
            caller, cause = next(iter(waiting.callers.items()))
            failed = tuple(peer for peer, _ in waiting.failures)
            self._enqueue(Election(name, 0, cause, caller, failed))

    def _tell_refused(self, name: str, reason: str, retry_after_s: int) -> None:
        for peer, cause in self._end_waiting(name).items():
            self._turn.send(peer, Refused(name, cause, clip(reason), retry_after_s))

    def _end_waiting(self, name: str) -> dict[str, str]:
        self._turn.timers.cancel(("convene", "callers", name))
        waiting = self._waiting.pop(name, None)
        return waiting.callers if waiting else {}

    def _close(self, election: Election) -> None:
        self._open.pop(election.key, None)
        self._cancel(election, "look", "look again", "retry")
        self._next()

    # --- time and members --------------------------------------------------------------------------------

    def _after(self, delay_s: float, what: str, election: Election) -> None:
        self._turn.after(delay_s, "convene", what, election.capsule, str(election.slot))

    def _cancel(self, election: Election, *whats: str) -> None:
        for what in whats:
            self._turn.timers.cancel(("convene", what, election.capsule, str(election.slot)))

    def due(self, what: str, capsule: str, slot: str = "0") -> None:
        """A timer of this room fired."""
        election = self._open.get((capsule, int(slot)))
        if what == "callers":
            self._tell_refused(capsule, "no result was reached in time; try again", 1)
        elif election is None:
            return
        elif what == "look":
            self._go_on(election)
        elif what == "look again":
            self._look(election)
        elif what == "retry":
            self._summon(election)

    def member_suspended(self, peer: str) -> None:
        """Elections that hang on this member go on without it."""
        for election in list(self._open.values()):
            if peer in election.looking or peer in election.deferred_to:
                election.looking.discard(peer)
                election.deferred_to.discard(peer)
                if not election.looking and not election.deferred_to:
                    self._summon(election)
            elif peer in election.candidates and peer not in election.declined:
                may_have_votes = election.candidates[0] == peer
                self._rule_out(election, peer, "it is suspect", may_have_votes)
