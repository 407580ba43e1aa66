"""One slot to be filled, as its convener sees it: who votes, who was called, what was heard. Values, no rule.

``convening`` leads it from one epoch to the next; what a set of votes amounts to is ``quorum``'s.
"""

from __future__ import annotations

import msgspec

from falak.core.model import Vote


class Ballot(msgspec.Struct):
    """``electors`` are named in the call; ``unseen``: asked what they know and not answered yet (``answers``
    have), ``looking``: nobody is summoned before that; ``deferred_to``: electors before us that convene too;
    ``summoned``: everybody called so far, of whom ``candidates`` in this epoch, by rank; ``votes``: each
    elector's last word; ``declined``: who is out, and why; ``failed``: whose copy failed for the same callers;
    ``hindrance``: why nobody can win now."""

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
    looking: bool = False
    unseen: set[str] = msgspec.field(default_factory=set)
    answers: int = 0
    deferred_to: set[str] = msgspec.field(default_factory=set)
    summoned_at: float = 0.0
    timed: bool = False
    candidates: list[str] = msgspec.field(default_factory=list)
    summoned: dict[str, None] = msgspec.field(default_factory=dict)
    votes: dict[str, Vote] = msgspec.field(default_factory=dict)
    declined: dict[str, str] = msgspec.field(default_factory=dict)
    winner: str = ""
    hindrance: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """The slot."""
        return (self.capsule, self.slot)

    def left(self) -> list[str]:
        """This epoch's candidates that are not out, by rank."""
        return [c for c in self.candidates if c not in self.declined]

    def has_votes(self, peer: str) -> bool:
        """Whether somebody voted for the candidate in this epoch, as far as was heard."""
        return any(vote == Vote(self.epoch, peer) for vote in self.votes.values())

    def is_before(self, peer: str, other: str) -> bool:
        """Whether ``peer`` comes before ``other`` among the electors (whoever is none comes last)."""
        order = [*self.electors, other]
        return peer in order and order.index(peer) < order.index(other)


class Ranking(msgspec.Struct, frozen=True):
    """Who may run a capsule, the best first, with the gravity estimated for each; and why others may not."""

    candidates: tuple[tuple[str, int], ...]
    refusals: dict[str, str]
