"""The quorum: how many acks an election needs, and what a set of votes amounts to. Pure arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from falak.core.model import Vote
from falak.core.settings import ELECTORS, EPOCH_JUMP_MAX


def needed(electors: int) -> int:
    """Acks that win with this many electors named in the call: three of five, else a majority.

    4 -> 3, 3 -> 2, 2 -> 2, 1 -> 1. Two sets of that size always share an elector, so two candidates cannot
    both win one epoch. Raises ``ValueError`` for none.
    """
    if electors < 1:
        raise ValueError("an election needs at least one elector")
    return 3 if electors >= ELECTORS else electors // 2 + 1


def leader(votes: Mapping[str, Vote], electors: Sequence[str]) -> tuple[int, str, int]:
    """``(epoch, leader, acks)`` of the newest epoch that anyone voted in; the smaller id among equals.

    Votes of nodes that are not named electors do not count. ``(0, "", 0)`` when nobody voted.
    """
    cast = [votes[e] for e in electors if e in votes and votes[e].leader]
    if not cast:
        return (0, "", 0)
    epoch = max(vote.epoch for vote in cast)
    acks = Counter(vote.leader for vote in cast if vote.epoch == epoch)
    best = min(acks, key=lambda who: (-acks[who], who))
    return (epoch, best, acks[best])


def winner(votes: Mapping[str, Vote], electors: Sequence[str]) -> tuple[int, str] | None:
    """``(epoch, winner)`` once someone has the acks that are needed."""
    epoch, who, acks = leader(votes, electors)
    return (epoch, who) if who and acks >= needed(len(electors)) else None


def split(votes: Mapping[str, Vote], electors: Sequence[str], epoch: int) -> bool:
    """Whether nobody can win ``epoch`` any more, however the electors that have not answered in it vote."""
    acks = Counter(votes[e].leader for e in electors if e in votes and votes[e].epoch == epoch)
    acks.pop("", None)
    silent = sum(1 for e in electors if e not in votes or votes[e].epoch < epoch)
    most = max(acks.values(), default=0)
    return bool(acks) and most + silent < needed(len(electors))


def next_epoch(heard: Iterable[int]) -> int:
    """The epoch after the highest heard, where one that is more than ``EPOCH_JUMP_MAX`` above the next lower
    one is not believed. An elector that knows nothing (0) is no measure: it may just have restarted."""
    known = sorted({epoch for epoch in heard if epoch > 0})
    while len(known) > 1 and known[-1] - known[-2] > EPOCH_JUMP_MAX:
        known.pop()
    return known[-1] + 1 if known else 1
