"""An elector's votes: one leader an epoch and slot, held for a while against higher epochs.

Owns the votes of this node, and proposals that came too early. It answers proposals, and counts what makes no
sense. The rules (docs/concepts/elections.md): a live claim is told and nobody acked; the first proposal of an
epoch is acked, later ones are told who leads; a vote stands ``vote_hold_s`` against a higher epoch, unless its
leader is suspect, gave up or ended its claim, or the proposal brings proof that nobody can win the epoch voted
in; only electors named in the call vote. A node that restarted with its key forgot its votes: for
``vote_silence_s`` it answers nothing. What comes in that time, before this node has joined, or before the
capsule's record, waits in a small lot and is answered then.
"""

from __future__ import annotations

from typing import Final

import msgspec

from falak.core.claims import Claims
from falak.core.membership import Membership
from falak.core.model import Claim, Vote
from falak.core.orbits import Orbits
from falak.core.quorum import split
from falak.core.settings import ELECTORS, EPOCH_JUMP_MAX, Settings
from falak.core.turn import Turn
from falak.core.wire import Proof, Propose, Voted, Withdrawn

VOTES_MAX: Final = 65_536
"""Slots with a vote remembered; at the bound the oldest half is forgotten (conveners know the epochs)."""
EARLY_MAX: Final = 256
"""Proposals that wait because they came too early; one more pushes out the oldest."""

SlotKey = tuple[str, int]


class _Cast(msgspec.Struct):
    vote: Vote
    at: float
    free: bool = False


class _Early(msgspec.Struct, frozen=True):
    peer: str
    proposal: Propose
    until: float


class Voting:
    """The room."""

    def __init__(
        self, turn: Turn, settings: Settings, members: Membership, orbits: Orbits, claims: Claims
    ) -> None:
        self._turn, self._settings, self._members = turn, settings, members
        self._orbits, self._claims = orbits, claims
        self._votes: dict[SlotKey, _Cast] = {}
        self._early: dict[tuple[str, str, int], _Early] = {}
        self._silent_until = 0.0

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is remembered here and its limit, by name."""
        return {"votes": (len(self._votes), VOTES_MAX), "early proposals": (len(self._early), EARLY_MAX)}

    def begin_silence(self) -> None:
        """This node restarted with its key: it forgot its votes."""
        self._silent_until = self._turn.now + self._settings.vote_silence_s
        self._turn.after(self._settings.vote_silence_s, "voting", "silence")

    def is_silent(self) -> bool:
        """Whether this node must not speak of votes yet."""
        return self._turn.now < self._silent_until

    def vote_on(self, capsule: str, slot: int) -> Vote:
        """What this node last voted for a slot."""
        cast = self._votes.get((capsule, slot))
        return cast.vote if cast else Vote()

    # --- proposals ---------------------------------------------------------------------------------------

    def proposed(self, peer: str, message: Propose) -> None:
        """A candidate proposes itself: ack it, or say who leads or holds."""
        odd = self._oddity(message)
        if odd:
            self._turn.count(odd)
            return
        if self._is_early(message):
            self._put_aside(peer, message)
            return
        key = (message.capsule, message.slot)
        claim = self._claims.at_slot(*key)
        if claim is None or claim.generation < message.generation:
            claim = None
            self._vote(peer, key, message)
        answer = Voted(message.capsule, message.slot, message.epoch, self.vote_on(*key), claim)
        self._turn.send(peer, answer)
        if self._members.profile_of(message.convener) is None:
            self._turn.count("proposal_unknown_convener")
        elif message.convener != peer:
            self._turn.send(message.convener, answer)

    def _oddity(self, message: Propose) -> str:
        named = message.electors
        if self._turn.me not in named or len(named) > ELECTORS or len(set(named)) != len(named):
            return "proposal_not_an_elector"
        voted_in = self.vote_on(message.capsule, message.slot).epoch
        if message.epoch < 1 or (voted_in and message.epoch > voted_in + EPOCH_JUMP_MAX):
            return "proposal_epoch"
        return ""

    def _vote(self, peer: str, key: SlotKey, message: Propose) -> None:
        cast = self._votes.get(key)
        if cast and message.epoch <= cast.vote.epoch:
            return
        if cast and cast.vote.leader != peer and not self._may_move(cast, message.proof, message.electors):
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

    def _may_move(self, cast: _Cast, proof: Proof, electors: tuple[str, ...]) -> bool:
        held = self._turn.now - cast.at < self._settings.vote_hold_s and not cast.free
        if not held or not self._members.usable(cast.vote.leader):
            return True
        votes = dict(proof)
        return votes.get(self._turn.me) == cast.vote and split(votes, electors, cast.vote.epoch)

    def _forget_oldest(self) -> None:
        by_age = sorted(self._votes, key=lambda key: (self._votes[key].at, key))
        for key in by_age[: VOTES_MAX // 2]:
            del self._votes[key]

    def withdrawn(self, peer: str, message: Withdrawn) -> None:
        """A candidate gives up: a vote for it protects nobody."""
        self._early.pop((peer, message.capsule, message.slot), None)
        self._set_free(peer, (message.capsule, message.slot), message.epoch)

    def claim_ended(self, claim: Claim) -> None:
        """A holder's claim is over, and with it the vote that made it."""
        self._set_free(claim.holder, (claim.capsule, claim.slot), claim.epoch)

    def _set_free(self, leader: str, key: SlotKey, epoch: int) -> None:
        cast = self._votes.get(key)
        if cast and cast.vote.leader == leader and cast.vote.epoch <= epoch:
            cast.free = True

    # --- proposals that came too early -------------------------------------------------------------------

    def _is_early(self, message: Propose) -> bool:
        unknown = self._orbits.get(message.capsule) is None
        if unknown:
            self._turn.count("proposal_unknown_capsule")
        return unknown or self.is_silent() or not self._members.joined

    def _put_aside(self, peer: str, message: Propose) -> None:
        key = (peer, message.capsule, message.slot)
        self._early.pop(key, None)
        if len(self._early) >= EARLY_MAX:
            del self._early[next(iter(self._early))]
        self._early[key] = _Early(peer, message, self._turn.now + self._settings.candidacy_s)

    def look_again(self) -> None:
        """A record came, this node joined, or its silence is over: answer what waited and is not stale."""
        if self.is_silent() or not self._members.joined or not self._early:
            return
        waiting, self._early = self._early, {}
        for key, early in waiting.items():
            if self._turn.now > early.until:
                self._turn.count("proposal_too_early")
            elif self._orbits.get(early.proposal.capsule) is None:
                self._early[key] = early
            else:
                self.proposed(early.peer, early.proposal)
