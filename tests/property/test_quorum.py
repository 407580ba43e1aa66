"""No two candidates win one epoch, however electors vote, and a split is never called one too early."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from falak.core.model import Vote
from falak.core.quorum import leader, needed, next_epoch, split, winner
from falak.core.settings import EPOCH_JUMP_MAX

ELECTORS = ("a", "b", "c", "d", "e")
CANDIDATES = ("x", "y", "z")


def test_two_winners_in_one_epoch_are_impossible_for_every_number_of_electors() -> None:
    """All ways in which 1 to 5 electors, each once, can vote in one epoch."""
    for count in range(1, 6):
        electors = ELECTORS[:count]
        for choice in itertools.product((*CANDIDATES, ""), repeat=count):
            acks = [choice.count(candidate) for candidate in CANDIDATES]
            assert sum(ack >= needed(count) for ack in acks) <= 1
            votes = {e: Vote(1, c) for e, c in zip(electors, choice, strict=True) if c}
            won = winner(votes, electors)
            assert (won is not None) == any(ack >= needed(count) for ack in acks)


def test_any_two_quorums_of_one_list_share_an_elector() -> None:
    for count in range(1, 6):
        for one, other in itertools.combinations(itertools.combinations(range(count), needed(count)), 2):
            assert set(one) & set(other)


votes = st.dictionaries(
    st.sampled_from((*ELECTORS, "stranger")),
    st.builds(Vote, st.integers(0, 3), st.sampled_from((*CANDIDATES, ""))),
)


@given(votes, st.integers(1, 5), st.integers(1, 3))
def test_a_split_epoch_is_never_won_later(seen: dict[str, Vote], count: int, epoch: int) -> None:
    """Whatever the electors that have not answered in it may still vote."""
    electors = ELECTORS[:count]
    if not split(seen, electors, epoch):
        return
    silent = [e for e in electors if e not in seen or seen[e].epoch < epoch]
    for choice in itertools.product(CANDIDATES, repeat=len(silent)):
        later = {e: v for e, v in seen.items() if v.epoch == epoch} | {
            e: Vote(epoch, c) for e, c in zip(silent, choice, strict=True)
        }
        assert winner(later, electors) is None


@given(votes, st.integers(1, 5))
def test_the_leader_has_the_acks_that_are_told(seen: dict[str, Vote], count: int) -> None:
    epoch, who, acks = leader(seen, ELECTORS[:count])
    counted = [e for e in ELECTORS[:count] if seen.get(e) == Vote(epoch, who)]
    assert acks == (len(counted) if who else 0)


@given(st.lists(st.integers(0, 2**48)))
def test_the_next_epoch_is_new_and_follows_one_that_was_heard(heard: list[int]) -> None:
    following = next_epoch(heard)
    assert following == 1 or following - 1 in heard
    known = [epoch for epoch in heard if epoch > 0]
    if known:
        assert following > min(known)
        if max(known) - min(known) <= EPOCH_JUMP_MAX:
            assert following == max(known) + 1
