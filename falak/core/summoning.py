"""How a convener calls candidates: who, in which order, with what patience. It sends nothing and keeps no
ballot.
"""

from __future__ import annotations

from collections.abc import Callable

from falak.core.ballot import Ballot, Ranking
from falak.core.claims import Claims
from falak.core.delays import Delays
from falak.core.membership import Membership
from falak.core.model import Record, Vote
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.core.wire import Summon


class Summoning:
    """The room. ``rank`` orders candidates for a record, given the caller and the peers that are out."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        delays: Delays,
        members: Membership,
        claims: Claims,
        rank: Callable[[Record, str, frozenset[str]], Ranking],
    ) -> None:
        self._turn, self._settings, self._delays = turn, settings, delays
        self._members, self._claims, self._rank = members, claims, rank

    def ranking(self, ballot: Ballot, record: Record) -> Ranking:
        """Of those that are not out. Nodes that hold another slot only if there are no others, and those where
        it failed to start only if there is nobody else at all."""
        out = frozenset(ballot.declined)
        holders = frozenset(claim.holder for claim in self._claims.live(ballot.capsule))
        for beside in (holders.union(ballot.failed), frozenset(ballot.failed)):
            ranking = self._rank(record, ballot.caller, out | beside)
            if ranking.candidates or not beside:
                return ranking
        return self._rank(record, ballot.caller, out)

    def patience_s(self) -> float:
        """How long a round of votes may take."""
        return max(self._settings.election_retry_s, self._delays.patience("ask") * 2)

    def summons(self, ballot: Ballot, record: Record, position: int) -> Summon:
        """The call to the candidate at this rank."""
        candidate = ballot.candidates[position]
        rtts = [self._members.trips.seconds(peer) for peer in ballot.candidates[: position + 1]]
        stagger_s = self._settings.stagger_rtts * (max(rtts) or self._settings.rtt_s)
        zones = self._members.zones()
        taken = {zones.get(c.holder, "") for c in self._claims.live(ballot.capsule)}
        return Summon(
            capsule=ballot.capsule,
            generation=record.generation,
            slot=ballot.slot,
            epoch=ballot.epoch,
            rank=position,
            stagger_us=round(max(stagger_s, self._delays.patience("ask")) * 1e6),
            electors=ballot.electors,
            caller=ballot.caller,
            zone_taken=bool(zones.get(candidate)) and zones.get(candidate) in taken,
            cause=ballot.cause,
        )

    def time(self, ballot: Ballot, vote: Vote) -> None:
        """The first vote for the first candidate tells how long an answer takes."""
        if ballot.timed or not ballot.candidates or vote != Vote(ballot.epoch, ballot.candidates[0]):
            return
        ballot.timed = True
        self._delays.sample("ask", self._turn.now - ballot.summoned_at)
