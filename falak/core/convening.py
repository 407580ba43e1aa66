"""A convener: the elector that was called sees to it that a slot is filled, once, and tells the callers.

Owns elections open at this node, those waiting behind them, and who waits for their result. It does not vote
(``voting``) nor run (``candidacy``). PROTOCOLS 6.3 to 6.6:

    called --a ready claim is known--> answered
    called --a claim is known, not ready--> waiting for it
    called --else--> look (unless this node is first and saw everything) --> summon --> votes
    votes --quorum--> won: announced; the callers are told when the winner's claim is ready
    votes --nobody can win--> the next epoch, for the one with most acks alone, with the proof
    votes --nothing for election_retry_s--> the next epoch, for those that are left
    all declined, or too many rounds --> the callers are refused with the reasons

At most ``elections_open_max`` elections are open at once; the others wait in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from falak.core.claims import Claims
from falak.core.delays import Delays
from falak.core.membership import Membership
from falak.core.model import Claim, Record, Vote
from falak.core.orbits import Orbits
from falak.core.quorum import leader, needed, split, winner
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

ROUNDS_MAX = 8
"""Epochs one election goes through before the callers are refused."""
STARTS_TRIED_MAX = 3
"""Winners whose copy failed before the callers are refused."""
CALLERS_MAX = 1024
"""Callers waiting for one capsule: one a node, so never reached in a cell; beyond it a call is refused."""

Key = tuple[str, int]


@dataclass(slots=True)
class Election:
    """One slot to be filled."""

    capsule: str
    slot: int
    cause: str
    caller: str
    opened_at: float
    electors: tuple[str, ...] = ()
    epoch: int = 0
    rounds: int = 0
    looking: set[str] = field(default_factory=set)
    summoned_at: float = 0.0
    candidates: list[str] = field(default_factory=list)
    votes: dict[str, Vote] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)
    winner: str = ""

    @property
    def key(self) -> Key:
        """The slot."""
        return (self.capsule, self.slot)


@dataclass(slots=True)
class _Waiting:
    callers: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Convening:
    """The room. ``rank`` orders candidates for a record, best first, given the caller and the peers out."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        delays: Delays,
        members: Membership,
        orbits: Orbits,
        claims: Claims,
        voting: Voting,
        rank: Callable[[Record, str, frozenset[str]], list[str]],
    ) -> None:
        self._turn, self._settings, self._delays = turn, settings, delays
        self._members, self._orbits, self._claims, self._voting = members, orbits, claims, voting
        self._rank = rank
        self._open: dict[Key, Election] = {}
        self._queue: deque[Election] = deque()
        self._waiting: dict[str, _Waiting] = {}
        self._complete: dict[str, tuple[str, ...]] = {}

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Elections open (those without a winner yet) and waiting, and their limits."""
        return {
            "elections open": (self._gate(), self._settings.elections_open_max),
            "elections waiting": (len(self._queue), self._settings.elections_waiting_max),
        }

    # --- calls -------------------------------------------------------------------------------------------

    def called(self, peer: str, message: Call) -> None:
        """A node asks who answers for a capsule."""
        name = message.capsule
        record = self._orbits.get(name)
        if not self._members.joined:
            self._turn.count("call_before_joined")
            return
        if record is None:
            self._turn.send(peer, Unknown(name, message.cause))
            return
        claims = self._claims.ready(name)
        if claims:
            self._turn.send(peer, Holders(name, message.cause, claims))
            return
        waiting = self._waiting.setdefault(name, _Waiting())
        if len(waiting.callers) >= CALLERS_MAX or len(self._queue) >= self._settings.elections_waiting_max:
            self._turn.send(peer, Refused(name, message.cause, "the elector is busy; try again", 1))
            return
        waiting.callers[peer] = message.cause
        self._turn.send(peer, Heard(name, message.cause))
        self._turn.after(self._settings.call_deadline_s, "convene", "callers", name)
        if not self._claims.live(name) and not self._is_under_way(name):
            self._enqueue(Election(name, 0, message.cause, peer, self._turn.now))

    def _is_under_way(self, name: str) -> bool:
        return any(e.capsule == name for e in self._open.values()) or any(
            e.capsule == name for e in self._queue
        )

    def _enqueue(self, election: Election) -> None:
        self._queue.append(election)
        self._next()

    def _next(self) -> None:
        while self._queue and self._gate() < self._settings.elections_open_max:
            election = self._queue.popleft()
            self._open[election.key] = election
            self._begin(election)

    def _gate(self) -> int:
        return sum(1 for election in self._open.values() if not election.winner)

    # --- looking -----------------------------------------------------------------------------------------

    def _begin(self, election: Election) -> None:
        election.electors = self._orbits.electors_of(election.capsule)
        if len(election.electors) < ELECTORS:
            election.electors = tuple(e for e in election.electors if self._members.usable(e))
        first = election.electors[0] == self._turn.me
        if first and self._complete.get(election.capsule) == election.electors:
            self._summon(election)
            return
        others = [e for e in election.electors if e != self._turn.me and self._members.usable(e)]
        if not others:
            self._summon(election)
            return
        election.looking = set(others)
        for elector in others:
            self._turn.send(elector, Look(*election.key))
        rtt_s = max(self._members.rtt_s(elector) for elector in others)
        wait = max(2 * rtt_s + self._settings.look_floor_s, self._delays.patience("look"))
        self._turn.after(wait, "convene", "look", *_words(election.key))

    def saw(self, peer: str, message: Saw) -> None:
        """An elector answered our look."""
        election = self._open.get((message.capsule, message.slot))
        if election is None or peer not in election.looking:
            return
        self._delays.sample("look", self._turn.now - election.opened_at)
        election.looking.discard(peer)
        election.votes[peer] = message.vote
        if message.claim and self._claims.learn(message.claim):
            return
        if not election.looking:
            self._complete[election.capsule] = self._orbits.electors_of(election.capsule)
        seen = len(election.votes) + 1
        if not election.looking or (
            seen >= needed(len(election.electors)) and len(election.electors) >= ELECTORS
        ):
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
        out = frozenset(election.declined)
        election.candidates = self._rank(record, election.caller, out)
        if not election.candidates:
            self._refuse(election)
            return
        self._turn.note(
            "election.called",
            election.cause,
            capsule=election.capsule,
            slot=election.slot,
            epoch=election.epoch,
            caller=self._members.name_of(election.caller),
            candidates=[self._members.name_of(c) for c in election.candidates],
            electors=[self._members.name_of(e) for e in election.electors],
        )
        for position, candidate in enumerate(election.candidates):
            self._turn.send(candidate, self._summons(election, record, position))

    def _another_round(self, election: Election) -> bool:
        election.rounds += 1
        election.looking.clear()
        self._turn.timers.cancel(("convene", "look", *_words(election.key)))
        if election.rounds > ROUNDS_MAX:
            self._refuse(election)
            return False
        own = self._voting.vote_on(*election.key).epoch
        heard = [vote.epoch for vote in election.votes.values()]
        election.epoch = max([own, election.epoch, *heard]) + 1
        election.summoned_at = self._turn.now
        wait = max(self._settings.election_retry_s, self._delays.patience("ask") * 2) * election.rounds
        self._turn.after(wait, "convene", "retry", *_words(election.key))
        return True

    def _summons(self, election: Election, record: Record, position: int) -> Summon:
        candidate = election.candidates[position]
        rtt_s = self._members.rtt_s(candidate) or self._settings.rtt_s
        stagger_s = max(self._settings.stagger_rtts * rtt_s, self._delays.patience("ask"))
        zones = self._members.zones()
        taken = {zones.get(c.holder, "") for c in self._claims.live(election.capsule)}
        return Summon(
            election.capsule,
            record.generation,
            election.slot,
            election.epoch,
            position,
            round(stagger_s * 1e6),
            election.electors,
            election.caller,
            bool(zones.get(candidate)) and zones.get(candidate) in taken,
            election.cause,
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
        if message.claim and self._claims.learn(message.claim):
            return
        if not any(v.epoch == election.epoch for v in election.votes.values()):
            self._delays.sample("ask", self._turn.now - election.summoned_at)
        election.votes[peer] = message.vote
        won = winner(election.votes, election.electors)
        if won:
            self._announce(election, *won)
        elif split(election.votes, election.electors, election.epoch):
            self._call_again(election)

    def _announce(self, election: Election, epoch: int, who: str) -> None:
        election.winner, election.epoch = who, epoch
        self._turn.timers.cancel(("convene", "retry", *_words(election.key)))
        self._tell_candidates(election, epoch, who)
        self._turn.after(self._settings.start_s, "convene", "start", *_words(election.key))
        self._next()

    def _tell_candidates(self, election: Election, epoch: int, who: str) -> None:
        for candidate in election.candidates:
            if candidate != who:
                word = Won(election.capsule, election.slot, max(epoch, election.epoch), who)
                self._turn.send(candidate, word)

    def _call_again(self, election: Election) -> None:
        """Nobody can win this epoch: the one with most acks alone, with the proof."""
        record = self._orbits.get(election.capsule)
        proof = tuple(sorted(election.votes.items()))
        _, most, _ = leader(election.votes, election.electors)
        self._turn.count("elections_split")
        if record is None or not self._another_round(election):
            return
        election.candidates = [most]
        summons = self._summons(election, record, 0)
        self._turn.send(most, replace(summons, proof=proof))

    def declined(self, peer: str, message: Decline) -> None:
        """A candidate refused: the next one goes at once; when all did, the callers are told why."""
        election = self._open.get((message.capsule, message.slot))
        if election is None or peer not in election.candidates or message.epoch != election.epoch:
            return
        election.declined[peer] = message.reason
        if election.winner == peer:
            election.winner = ""
        left = [c for c in election.candidates if c not in election.declined]
        if left:
            self._turn.send(left[0], Proceed(election.capsule, election.slot, election.epoch))
        else:
            self._summon(election)

    def _refuse(self, election: Election) -> None:
        told = [f"{self._members.name_of(p)}: {why}" for p, why in sorted(election.declined.items())]
        reason = "; ".join(told) or "no node of the mesh watches its orbit, or no elector answered"
        self._close(election)
        self._tell_refused(election.capsule, f"no node can run {election.capsule} now ({reason})", 1)

    # --- results -----------------------------------------------------------------------------------------

    def directory_changed(self, name: str, reason: str, capsule_fault: bool) -> None:
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
            self._start_over(name, reason, capsule_fault)

    def _tell_holders(self, name: str, claims: tuple[Claim, ...]) -> None:
        waiting = self._waiting.pop(name, None)
        self._turn.timers.cancel(("convene", "callers", name))
        if waiting:
            for peer, cause in waiting.callers.items():
                self._turn.send(peer, Holders(name, cause, claims))

    def _start_over(self, name: str, reason: str, capsule_fault: bool) -> None:
        waiting = self._waiting[name]
        waiting.failures.append(reason)
        if capsule_fault or len(waiting.failures) >= STARTS_TRIED_MAX:
            self._tell_refused(name, f"{name} did not start: {'; '.join(waiting.failures)}", 5)
        elif not self._is_under_way(name) and waiting.callers:
            caller, cause = next(iter(waiting.callers.items()))
            self._enqueue(Election(name, 0, cause, caller, self._turn.now))

    def _tell_refused(self, name: str, reason: str, retry_after_s: int) -> None:
        waiting = self._waiting.pop(name, None)
        self._turn.timers.cancel(("convene", "callers", name))
        if waiting:
            for peer, cause in waiting.callers.items():
                self._turn.send(peer, Refused(name, cause, reason, retry_after_s))

    def _close(self, election: Election) -> None:
        self._open.pop(election.key, None)
        for what in ("look", "retry", "start"):
            self._turn.timers.cancel(("convene", what, *_words(election.key)))
        self._next()

    # --- time and members --------------------------------------------------------------------------------

    def due(self, what: str, capsule: str, slot: str = "0") -> None:
        """A timer of this room fired."""
        if what == "callers":
            self._tell_refused(capsule, "no result was reached in time; try again", 1)
            return
        election = self._open.get((capsule, int(slot)))
        if election is None:
            return
        if what == "look":
            self._summon(election)
        elif what == "retry" or what == "start":
            election.winner = ""
            self._summon(election)

    def member_suspended(self, peer: str) -> None:
        """Elections that hang on this member go on without it."""
        for election in list(self._open.values()):
            election.looking.discard(peer)
            if election.winner == peer:
                election.winner = ""
                election.declined[peer] = "it is suspect"
                self._summon(election)
            elif peer in election.candidates and peer not in election.declined:
                election.declined[peer] = "it is suspect"
                left = [c for c in election.candidates if c not in election.declined]
                if left:
                    self._turn.send(left[0], Proceed(election.capsule, election.slot, election.epoch))
                else:
                    self._summon(election)

    def caller_gone(self, peer: str) -> None:
        """A caller's run is over: it waits for nothing."""
        for waiting in self._waiting.values():
            waiting.callers.pop(peer, None)


def _words(key: Key) -> tuple[str, str]:
    return (key[0], str(key[1]))
