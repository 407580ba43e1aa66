"""An elector's votes: one leader an epoch and slot, held for a while against higher epochs.

Owns the votes of this node. It answers proposals and looks, and counts what makes no sense. Rules of
PROTOCOLS 6.5 and 6.6: a live claim is told and nobody acked; the first proposal of an epoch is acked, later
ones are told who leads; a vote stands ``vote_hold_s`` against a higher epoch unless the proposal brings proof
that nobody can win the epoch voted in; only electors named in the call vote; a node that restarted with its
key is silent for ``vote_silence_s``, for it forgot its votes.
"""

from __future__ import annotations

from dataclasses import dataclass

from falak.core.claims import Claims
from falak.core.membership import Membership
from falak.core.model import Vote
from falak.core.orbits import Orbits
from falak.core.quorum import split
from falak.core.settings import ELECTORS, EPOCH_JUMP_MAX, Settings
from falak.core.turn import Turn
from falak.core.wire import Look, Proof, Propose, Saw, Voted

VOTES_MAX = 65_536
"""Slots with a vote remembered; at the bound the oldest half is forgotten (conveners know the epochs)."""


@dataclass(slots=True)
class _Cast:
    vote: Vote
    at: float


class Voting:
    """The room."""

    def __init__(
        self, turn: Turn, settings: Settings, members: Membership, orbits: Orbits, claims: Claims
    ) -> None:
        self._turn, self._settings, self._members = turn, settings, members
        self._orbits, self._claims = orbits, claims
        self._votes: dict[tuple[str, int], _Cast] = {}
        self.silent_until = 0.0

    def vote_on(self, capsule: str, slot: int) -> Vote:
        """What this node last voted for a slot."""
        cast = self._votes.get((capsule, slot))
        return cast.vote if cast else Vote()

    def proposed(self, peer: str, message: Propose) -> None:
        """A candidate proposes itself: ack it, or say who leads or holds."""
        odd = self._oddity(peer, message)
        if odd:
            self._turn.count(odd)
            return
        key = (message.capsule, message.slot)
        claim = self._claims.at_slot(*key)
        if claim is None or claim.generation < message.generation:
            claim = None
            self._vote(peer, key, message)
        answer = Voted(message.capsule, message.slot, message.epoch, self.vote_on(*key), claim)
        self._turn.send(peer, answer)
        if message.convener != peer:
            self._turn.send(message.convener, answer)

    def _oddity(self, peer: str, message: Propose) -> str:
        if self._turn.now < self.silent_until or not self._members.joined:
            return "vote_silent"
        if self._orbits.get(message.capsule) is None:
            return "proposal_unknown_capsule"
        named = message.electors
        if self._turn.me not in named or len(named) > ELECTORS or len(set(named)) != len(named):
            return "proposal_not_an_elector"
        if (
            message.epoch > self.vote_on(message.capsule, message.slot).epoch + EPOCH_JUMP_MAX
            or message.epoch < 1
        ):
            return "proposal_epoch"
        if message.convener != self._turn.me and self._members.profile_of(message.convener) is None:
            return "proposal_unknown_convener"
        return ""

    def _vote(self, peer: str, key: tuple[str, int], message: Propose) -> None:
        cast = self._votes.get(key)
        if cast and message.epoch <= cast.vote.epoch:
            return
        if cast and cast.vote.leader != peer and not self._may_move(key, cast, message.proof, message.electors):
            self._turn.count("vote_held")
            return
        if cast is None and len(self._votes) >= VOTES_MAX:
            self._forget_oldest()
        self._votes[key] = _Cast(Vote(message.epoch, peer), self._turn.now)
        self._turn.note(
            "election.ack",
            message.cause,
            capsule=message.capsule,
            slot=message.slot,
            epoch=message.epoch,
            candidate=self._members.name_of(peer),
            gravity=message.gravity,
        )

    def _may_move(self, key: tuple[str, int], cast: _Cast, proof: Proof, electors: tuple[str, ...]) -> bool:
        if self._turn.now - cast.at >= self._settings.vote_hold_s or not self._members.usable(cast.vote.leader):
            return True
        votes = dict(proof)
        return votes.get(self._turn.me) == cast.vote and split(votes, electors, cast.vote.epoch)

    def _forget_oldest(self) -> None:
        by_age = sorted(self._votes, key=lambda key: (self._votes[key].at, key))
        for key in by_age[: VOTES_MAX // 2]:
            del self._votes[key]

    def looked(self, peer: str, message: Look) -> None:
        """A convener that may have missed something looks at our vote and claim."""
        if self._turn.now < self.silent_until:
            return
        claim = self._claims.at_slot(message.capsule, message.slot)
        self._turn.send(
            peer, Saw(message.capsule, message.slot, self.vote_on(message.capsule, message.slot), claim)
        )
